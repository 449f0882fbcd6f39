package clustersql

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/redact"
)

// parameterPrefix begins the DSN parameters that are the cluster's own.
const parameterPrefix = "clustersql."

// A clusterDSN is a DSN that describes a whole cluster, taken apart.
type clusterDSN struct {
	dialect.HostList
	settings []dialect.Parameter // without the prefix, unescaped
	redact   redact.Redactor     // for texts made of parts of the DSN
}

// parseClusterDSN takes a DSN with a list of hosts apart. The error holds no
// part of the DSN's secrets.
func parseClusterDSN(d dialect.Dialect, dsn string) (clusterDSN, error) {
	secrets, known := d.Secrets(dsn)
	c := clusterDSN{redact: redact.New(dsn, secrets, known)}
	var err error
	if c.HostList, err = d.SplitHosts(dsn, parameterPrefix); err != nil {
		return c, err
	}
	for _, p := range c.Parameters {
		if err := c.take(p); err != nil {
			return c, err
		}
	}
	return c, nil
}

// take checks one of the cluster's own parameters.
func (c *clusterDSN) take(p dialect.Parameter) error {
	key, ours := strings.CutPrefix(p.Name, parameterPrefix)
	if _, known := settingFields[key]; !ours || !known && key != "name" {
		return fmt.Errorf("unknown parameter %s: there are %sname, %s%s", c.redact.Text(p.Name), parameterPrefix,
			parameterPrefix, strings.Join(settingKeys, ", "+parameterPrefix))
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

// config returns the cluster's settings as the parameters say. The error
// holds no part of the DSN's secrets.
func (c clusterDSN) config() (Config, error) {
	cfg := DefaultConfig()
	for _, p := range c.settings {
		if p.Name == "name" {
			continue
		}
		if err := cfg.setText(p.Name, p.Value); err != nil {
			return cfg, fmt.Errorf("parameter %s%s", parameterPrefix, c.redact.Error(err))
		}
	}
	if err := cfg.validate(); err != nil {
		return cfg, fmt.Errorf("parameter %s%s", parameterPrefix, c.redact.Error(err))
	}
	return cfg, nil
}

// name returns the cluster's name: the parameter, or else one made of the
// database and the hosts.
func (c clusterDSN) name() string {
	for _, p := range c.settings {
		if p.Name == "name" && p.Value != "" {
			return p.Value
		}
	}
	hosts := make([]string, len(c.Hosts))
	for i, h := range c.Hosts {
		hosts[i] = h.Name
	}
	return fmt.Sprintf("clustersql/%s@%s", c.Database, strings.Join(hosts, ","))
}
