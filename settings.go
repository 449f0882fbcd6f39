package clustersql

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
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
		*field, err = durationSetting(value)
	case *int:
		*field, err = intSetting(value)
	case *bool:
		*field, err = boolSetting(value)
	case *string:
		*field, err = stringSetting(value)
	case encoding.TextUnmarshaler:
		var text string
		if text, err = stringSetting(value); err == nil {
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

func durationSetting(value any) (time.Duration, error) {
	switch value := value.(type) {
	case string:
		d, err := time.ParseDuration(value)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration: write one with its unit, as in \"1.5s\" or \"600ms\"", value)
		}
		return d, nil
	case int64, float64:
		return 0, fmt.Errorf("%v has no unit: write \"%vs\" for seconds", value, value)
	}
	return 0, fmt.Errorf("it is %s: write a duration with its unit, as in \"1.5s\"", typeName(value))
}

func intSetting(value any) (int, error) {
	if n, ok := value.(int64); ok && int64(int(n)) == n {
		return int(n), nil
	}
	if s, ok := value.(string); ok {
		return 0, fmt.Errorf("%q is not a number: write one as in 8", s)
	}
	return 0, fmt.Errorf("it is %s: write a whole number as in 8", typeName(value))
}

func boolSetting(value any) (bool, error) {
	if b, ok := value.(bool); ok {
		return b, nil
	}
	return false, fmt.Errorf("it is %s: write true or false", typeName(value))
}

func stringSetting(value any) (string, error) {
	if s, ok := value.(string); ok {
		return s, nil
	}
	return "", fmt.Errorf("it is %s: write a text in quotes", typeName(value))
}

// typeName names the type of a TOML value, with its article.
func typeName(value any) string {
	switch value.(type) {
	case string:
		return "a text"
	case int64, float64:
		return "a number"
	case bool:
		return "a boolean"
	case time.Time:
		return "a time"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	case []any:
		return "an array"
	}
	return fmt.Sprintf("a %T", value)
}
