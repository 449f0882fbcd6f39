// Package settings sets, compares and bounds the fields of a struct of settings, by
// the keys that their tags have: `toml` is the key, and `reload` says when a change
// takes effect. A field with the key "-" has none.
//
// It is pure but for the types of the fields. The root imports the package; it
// imports conffile.
package settings

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
)

// A Table knows the settings of a struct type. It does not change.
type Table struct {
	// Keys are the keys in the order of the fields.
	Keys []string

	t      reflect.Type
	fields map[string]int // indexes of the fields
}

// Of returns the table of a struct type.
func Of[T any]() *Table {
	s := &Table{t: reflect.TypeFor[T](), fields: make(map[string]int)}
	for i := range s.t.NumField() {
		if key := s.t.Field(i).Tag.Get("toml"); key != "" && key != "-" {
			s.fields[key] = i
			s.Keys = append(s.Keys, key)
		}
	}
	return s
}

// Has reports whether there is a setting of the key.
func (s *Table) Has(key string) bool { _, ok := s.fields[key]; return ok }

// Set sets the field of a key to a value of a TOML type: a string, int64, float64 or
// bool. cfg points to the struct. The key must be one of the table's.
func (s *Table) Set(cfg any, key string, value any) (err error) {
	switch field := reflect.ValueOf(cfg).Elem().Field(s.fields[key]).Addr().Interface().(type) {
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
	return err
}

// Value returns the value for [Table.Set] of one that is text whatever its type, as in
// the parameters of a DSN.
func (s *Table) Value(key, text string) any {
	if i, ok := s.fields[key]; ok {
		switch s.t.Field(i).Type.Kind() {
		case reflect.Int:
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				return n
			}
		case reflect.Bool:
			if b, err := strconv.ParseBool(text); err == nil {
				return b
			}
		}
	}
	return text
}

// A Difference is a setting that has two values.
type Difference struct {
	Key  string
	When string // when a change takes effect, as the tag has it
	A, B any
}

// Differences returns the settings that differ, in the order of the fields. a and b
// point to two structs. same compares two values that [Same] does not know, or is nil.
func (s *Table) Differences(a, b any, same func(a, b any) bool) []Difference {
	var all []Difference
	av, bv := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range s.t.NumField() {
		if key := s.t.Field(i).Tag.Get("toml"); key != "-" && !Same(av.Field(i), bv.Field(i), same) {
			all = append(all, Difference{key, s.t.Field(i).Tag.Get("reload"), av.Field(i).Interface(), bv.Field(i).Interface()})
		}
	}
	return all
}

// Same compares two values of a setting. Funcs are the same if they are one func of a
// package. Structs are compared by same.
func Same(a, b reflect.Value, same func(a, b any) bool) bool {
	switch a.Kind() {
	case reflect.Func:
		return a.Pointer() == b.Pointer()
	case reflect.Struct:
		return same(a.Interface(), b.Interface())
	}
	return a.Interface() == b.Interface()
}

// Text returns a value as a file has it.
func Text(value any) string {
	if s, ok := value.(fmt.Stringer); ok {
		return Text(s.String())
	}
	if v := reflect.ValueOf(value); v.Kind() == reflect.String {
		return strconv.Quote(v.String())
	}
	return fmt.Sprint(value)
}

// Keep copies the settings that take effect at a certain time, as their tags have it.
// Those without a key are among them. to and from point to structs.
func (s *Table) Keep(to, from any, when string) {
	tv, fv := reflect.ValueOf(to).Elem(), reflect.ValueOf(from).Elem()
	for i := range s.t.NumField() {
		if s.t.Field(i).Tag.Get("reload") == when {
			tv.Field(i).Set(fv.Field(i))
		}
	}
}
