// Package jsonform has the forms that a status and an event have in JSON. Durations
// are numbers of seconds. States, kinds and roles are words.
//
// It is pure. The root, health and counts import the package; it imports no other
// package of this module.
package jsonform

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Seconds is a duration that is a number of seconds in JSON.
type Seconds time.Duration

// MarshalJSON writes the number.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads a number.
func (s *Seconds) UnmarshalJSON(text []byte) error {
	var f float64
	if err := json.Unmarshal(text, &f); err != nil {
		return err
	}
	*s = Seconds(f * float64(time.Second))
	return nil
}

// Word sets v to the value whose String is the word. last is the last value. what
// names the kind of value in the error for any other word.
func Word[T interface {
	~uint8
	String() string
}](v *T, last T, what string, word []byte) error {
	for known := range last + 1 {
		if known.String() == string(word) {
			*v = known
			return nil
		}
	}
	return fmt.Errorf("clustersql: there is no %s %q", what, word)
}
