package clustersql

import (
	"encoding"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
)

// settingFields are the indexes of Config's fields that have a key.
var settingFields, settingKeys = func() (map[string]int, []string) {
	fields := make(map[string]int)
	var keys []string
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("toml"); key != "" && key != "-" {
			fields[key] = i
			keys = append(keys, key)
		}
	}
	return fields, keys
}()

// set sets the field of a key to a value as TOML has it: a string, int64,
// float64 or bool. The error is a *SettingError.
func (c *Config) set(key string, value any) error {
	i, ok := settingFields[key]
	if !ok {
		return &SettingError{key, "there is no such setting: the settings are " + strings.Join(settingKeys, ", ")}
	}
	var err error
	switch field := reflect.ValueOf(c).Elem().Field(i).Addr().Interface().(type) {
	case *time.Duration:
		*field, err = conffile.Duration(value)
	case *int:
		*field, err = conffile.Int(value)
	case *bool:
		*field, err = conffile.Bool(value)
	case *string:
		*field, err = conffile.Text(value)
	case encoding.TextUnmarshaler:
		var text string
		if text, err = conffile.Text(value); err == nil {
			err = field.UnmarshalText([]byte(text))
		}
	default:
		err = errors.New("it cannot be set by a text: use the option of NewDriver")
	}
	if err != nil {
		return &SettingError{key, err.Error()}
	}
	return nil
}

// setText is set for a value that is written as a text whatever its type, as
// in a DSN's parameters.
func (c *Config) setText(key, value string) error {
	if i, ok := settingFields[key]; ok {
		switch reflect.TypeFor[Config]().Field(i).Type.Kind() {
		case reflect.Int:
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				return c.set(key, n)
			}
		case reflect.Bool:
			if b, err := strconv.ParseBool(value); err == nil {
				return c.set(key, b)
			}
		}
	}
	return c.set(key, value)
}

// problem is a SettingError without its key.
func problem(err error) error {
	if e, ok := err.(*SettingError); ok {
		return errors.New(e.Problem)
	}
	return err
}
