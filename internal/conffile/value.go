package conffile

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// The functions here read a value as the TOML decoder gives it: a string,
// int64, float64, bool or another type. Their errors say what to write instead.

// Duration reads a duration, which must have a unit.
func Duration(value any) (time.Duration, error) {
	switch value := value.(type) {
	case string:
		d, err := time.ParseDuration(value)
		if err != nil {
			return 0, fmt.Errorf("%s is not a duration: write one with its unit, as in \"1.5s\" or \"600ms\"", Quote(value))
		}
		return d, nil
	case int64:
		return 0, fmt.Errorf("%d has no unit: write \"%ds\" for seconds", value, value)
	case float64:
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return 0, errors.New("it is no time: write a duration with its unit, as in \"1.5s\"")
		}
		return 0, fmt.Errorf("%v has no unit: write \"%vs\" for seconds", value, value)
	}
	return 0, fmt.Errorf("it is %s: write a duration with its unit, as in \"1.5s\"", typeName(value))
}

// Int reads a whole number.
func Int(value any) (int, error) {
	if n, ok := value.(int64); ok && int64(int(n)) == n {
		return int(n), nil
	}
	if s, ok := value.(string); ok {
		return 0, fmt.Errorf("%s is not a number: write one as in 8", Quote(s))
	}
	return 0, fmt.Errorf("it is %s: write a whole number as in 8", typeName(value))
}

// Bool reads true or false.
func Bool(value any) (bool, error) {
	if b, ok := value.(bool); ok {
		return b, nil
	}
	return false, fmt.Errorf("it is %s: write true or false", typeName(value))
}

// Text reads a text.
func Text(value any) (string, error) {
	if s, ok := value.(string); ok {
		return s, nil
	}
	return "", fmt.Errorf("it is %s: write a text in quotes", typeName(value))
}

// typeName returns the name of a TOML value's type, with its article.
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
