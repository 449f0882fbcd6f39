package clustersql

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
)

// Groups says whether a cluster's nodes may be of several Galera groups; see
// [Config.Groups].
type Groups string

const (
	// GroupsOne uses the nodes of one group.
	GroupsOne Groups = ""
	// GroupsAny uses the nodes of all groups together.
	GroupsAny Groups = "any"
)

// UnmarshalText sets the value from its text in config.toml. GroupsOne is "one"
// or the empty text.
func (g *Groups) UnmarshalText(text []byte) error {
	if string(text) == "one" {
		text = nil
	}
	return setChoice(g, text, Groups.problem)
}

func (g Groups) problem() error {
	switch g {
	case GroupsOne, GroupsAny:
		return nil
	}
	return fmt.Errorf("%s is neither \"one\" nor %q", conffile.Quote(string(g)), string(GroupsAny))
}

// DialMode decides who dials; see [Config.Dial].
type DialMode string

const (
	// DialCluster lets the cluster dial, so that it can cut connections.
	DialCluster DialMode = "cluster"
	// DialBackend leaves the dial to the backend.
	DialBackend DialMode = "backend"
)

// UnmarshalText sets the value from its text in config.toml.
func (d *DialMode) UnmarshalText(text []byte) error { return setChoice(d, text, DialMode.problem) }

func (d DialMode) problem() error {
	switch d {
	case DialCluster, DialBackend:
		return nil
	}
	return fmt.Errorf("%s is neither %q nor %q", conffile.Quote(string(d)), string(DialCluster), string(DialBackend))
}

// setChoice sets a value that must be one of a few names. problem returns the
// error for any other.
func setChoice[T ~string](value *T, text []byte, problem func(T) error) error {
	v := T(text)
	if err := problem(v); err != nil {
		return err
	}
	*value = v
	return nil
}

// Rebalance decides how a cluster's connections are spread over its nodes after
// nodes have come back; see [Config.Rebalance].
type Rebalance string

const (
	// RebalanceByStrategy lets the strategy decide: RebalanceShares for
	// Balanced, RebalanceFirst for Ordered, RebalanceRefresh for Race and
	// Hedged, and RebalanceOff for a strategy made by NewStrategy.
	RebalanceByStrategy Rebalance = ""
	// RebalanceShares gives each of the nodes that are about equally fast its
	// share by weight; see Balanced.
	RebalanceShares Rebalance = "shares"
	// RebalanceFirst moves all connections to the node that Ordered asks first.
	RebalanceFirst Rebalance = "first"
	// RebalanceRefresh gives no shares. Connections that are older than a
	// node's return are closed once, and the strategy decides where the new
	// ones go.
	RebalanceRefresh Rebalance = "refresh"
	// RebalanceOff leaves connections where they are.
	RebalanceOff Rebalance = "off"
)

// UnmarshalText sets the value from its text in config.toml. The empty text
// stands for RebalanceByStrategy.
func (r *Rebalance) UnmarshalText(text []byte) error {
	return setChoice(r, text, Rebalance.problem)
}

func (r Rebalance) problem() error {
	switch r {
	case RebalanceByStrategy, RebalanceShares, RebalanceFirst, RebalanceRefresh, RebalanceOff:
		return nil
	}
	return fmt.Errorf("there is no %s: use \"shares\", \"first\", \"refresh\" or \"off\", or leave it out", conffile.Quote(string(r)))
}

// settingFields maps each key to the index of its field in Config. settingKeys
// are the keys in the order of the fields.
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

// set sets the field of a key to a value of a TOML type: a string, int64,
// float64 or bool. Its error is a *SettingError.
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

// setText is set for a value that is text whatever its type, as in the
// parameters of a DSN.
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

// problem returns a SettingError without its key, and any other error as it is.
func problem(err error) error {
	if e, ok := err.(*SettingError); ok {
		return errors.New(e.Problem)
	}
	return err
}

// settingChanges returns the settings that differ, in the order of the fields.
func settingChanges(cluster string, before, after *Config) []Change {
	var all []Change
	b, a, t := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem(), reflect.TypeFor[Config]()
	for i := range t.NumField() {
		key := t.Field(i).Tag.Get("toml")
		if key == "-" || sameSetting(b.Field(i), a.Field(i)) {
			continue
		}
		all = append(all, Change{
			Cluster: cluster, Kind: ChangeSetting, Setting: key, When: Takes(t.Field(i).Tag.Get("reload")),
			From: settingText(b.Field(i)), To: settingText(a.Field(i)),
		})
	}
	return all
}

// sameSetting compares two values of a setting. Funcs are the same if they are one
// func of a package.
func sameSetting(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Func:
		return a.Pointer() == b.Pointer()
	case reflect.Struct: // a Strategy
		return a.Interface().(Strategy).same(b.Interface().(Strategy))
	}
	return a.Interface() == b.Interface()
}

// settingText returns a value as a file has it.
func settingText(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case Check:
		for name, check := range namedChecks {
			if reflect.ValueOf(check).Pointer() == v.Pointer() {
				return strconv.Quote(name)
			}
		}
		if value == nil {
			return "the dialect's"
		}
		return "the program's"
	case fmt.Stringer:
		return strconv.Quote(value.String())
	}
	if v.Kind() == reflect.String {
		return strconv.Quote(v.String())
	}
	return fmt.Sprint(v.Interface())
}

// keeping returns the settings with which a running cluster goes on: what changes
// at a restart only is as it was.
func (c *Config) keeping(before *Config) *Config {
	kept := *c
	to, from, t := reflect.ValueOf(&kept).Elem(), reflect.ValueOf(before).Elem(), reflect.TypeFor[Config]()
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("reload") == string(TakesRestart) {
			to.Field(i).Set(from.Field(i))
		}
	}
	return &kept
}
