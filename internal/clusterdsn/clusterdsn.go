// Package clusterdsn reads a DSN that describes a whole cluster: a list of hosts, and
// parameters that are the cluster's own.
//
// It is plain data: nothing is dialled. The root imports the package; it imports dialect
// and redact.
package clusterdsn

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/redact"
)

// Prefix is the prefix of those parameters that are the cluster's own.
const Prefix = "clustersql."

// A DSN is a parsed DSN that describes a whole cluster.
type DSN struct {
	dialect.HostList
	settings []dialect.Parameter // names without the prefix, values unescaped
	redact   redact.Redactor     // for texts that contain parts of the DSN
}

// nameKey is the parameter that is no setting.
const nameKey = "name"

// Parse parses a DSN with a list of hosts. keys are the settings that there are. The
// error holds none of the DSN's secrets.
func Parse(d dialect.Dialect, dsn string, keys []string) (DSN, error) {
	secrets, known := d.Secrets(dsn)
	c := DSN{redact: redact.New(dsn, secrets, known)}
	var err error
	if c.HostList, err = d.SplitHosts(dsn, Prefix); err != nil {
		return c, err
	}
	for _, p := range c.Parameters {
		if err := c.take(p, keys); err != nil {
			return c, err
		}
	}
	return c, nil
}

// take checks one of the cluster's own parameters and adds it to the settings.
func (c *DSN) take(p dialect.Parameter, keys []string) error {
	key, ours := strings.CutPrefix(p.Name, Prefix)
	if !ours || !slices.Contains(keys, key) && key != nameKey {
		return fmt.Errorf("unknown parameter %s: there are %s%s, %s%s", c.redact.Text(p.Name), Prefix, nameKey,
			Prefix, strings.Join(keys, ", "+Prefix))
	}
	if slices.ContainsFunc(c.settings, func(s dialect.Parameter) bool { return s.Name == key }) {
		return fmt.Errorf("parameter %s is there twice: take one out", p.Name)
	}
	value, err := url.QueryUnescape(p.Value)
	if err != nil {
		return fmt.Errorf("parameter %s: %s: write a percent sign as %%25", p.Name, c.redact.Error(err))
	}
	c.settings = append(c.settings, dialect.Parameter{Name: key, Value: value})
	return nil
}

// Set calls set for every setting, in the DSN's order, until it fails. The text of its
// error begins with the key of a setting.
func (c *DSN) Set(set func(key, value string) error) error {
	for _, p := range c.settings {
		if p.Name == nameKey {
			continue
		}
		if err := set(p.Name, p.Value); err != nil {
			return c.Wrong(err)
		}
	}
	return nil
}

// Wrong returns an error about a setting as one about its parameter, without the DSN's
// secrets. The text begins with the key.
func (c *DSN) Wrong(err error) error {
	return fmt.Errorf("parameter %s%s", Prefix, c.redact.Error(err))
}

// Name returns the cluster's name: that of the parameter, or else one made from
// the database and the hosts.
func (c *DSN) Name() string {
	for _, p := range c.settings {
		if p.Name == nameKey && p.Value != "" {
			return p.Value
		}
	}
	hosts := make([]string, len(c.Hosts))
	for i, h := range c.Hosts {
		hosts[i] = h.Name
	}
	return fmt.Sprintf("clustersql/%s@%s", c.Database, strings.Join(hosts, ","))
}
