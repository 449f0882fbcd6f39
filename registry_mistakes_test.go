package clustersql

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
)

// Every kind of mistake gives a message with the file, the line, the key and
// the cure, and without the password.
func TestConfigFileMistakes(t *testing.T) {
	const password = "Hunter22/p@ss"
	const node = "\n  [[cluster.node]]\n  name = \"n1\"\n  dsn = \"app:" + password + "@tcp(h1:3306)/db\"\n"
	const cluster = "[[cluster]]\nname = \"c\"" + node
	const keys = "strategy, dialect, check, check_query, require, max_lag, causal_timeout, role_query, lag_query, allow_donor, donor_after, silence_hold, hang_limit, late_after, hedge_reads, hedge_after, groups, dial, tcp_user_timeout, open_timeout, attempt_timeout, loser_grace, max_opens_per_node, probe_interval, probe_timeout, rise, fall, rebalance, rebalance_after, failback_after, max_age, drain_timeout, discover, discover_every, discover_missing, discover_floor, discover_networks, discover_addresses, name_server, idempotent"
	t.Setenv("MISTAKES_EMPTY", "")
	t.Setenv("MISTAKES_DSN", "app:"+password+"@tcp(h1:3306)")
	generic, _ := registerChoosy(nil)
	refuses, _ := registerChoosy(func(dsn string) error { return fmt.Errorf("cannot use %q", dsn) })
	cases := []struct{ name, text, want string }{
		{
			"empty file", "",
			"clustersql: config.toml: it has no cluster: write a [[cluster]] with its name and at least one [[cluster.node]] with name and dsn",
		},
		{
			"no cluster", "rise = 3 # " + password,
			"clustersql: config.toml: it has no cluster: write a [[cluster]] with its name and at least one [[cluster.node]] with name and dsn",
		},
		{
			"not TOML", "\n" + cluster + "this is no TOML",
			"clustersql: config.toml:7: it is not TOML: a key is not followed by an equals sign and a value: texts stand in quotes, each key = value in a line of its own",
		},
		{
			"DSN without quotes", cluster + "[[cluster.node]]\nname = \"n2\"\ndsn = app:" + password + "@tcp(h2)/db\n",
			"clustersql: config.toml:8: it is not TOML: a text has no quotes, or a value is missing: texts stand in quotes, each key = value in a line of its own",
		},
		{
			"DSN without its last quote", "[[cluster]]\nname = \"c\"\n[[cluster.node]]\nname = \"n1\"\ndsn = \"app:" + password + "@tcp(h2)/db\n",
			"clustersql: config.toml:5: it is not TOML: a text has no quote at its end: texts stand in quotes, each key = value in a line of its own",
		},
		{
			"original: password without quotes", "[[Nodes]]\nName = \"a\" # " + password + "\nHostName = \"h\"\nPassword = hunterxyz\n",
			"clustersql: config.toml:4: it is not TOML: a text has no quotes, or a value is missing: texts stand in quotes, each key = value in a line of its own",
		},
		{
			"the password as a setting", "[[cluster]]\nname = \"c\"\nstrategy = \"" + password + "\"" + node,
			"clustersql: config.toml:3: cluster \"c\": strategy: unknown strategy \"***\": use \"race\", \"hedged\", \"balanced\" or \"ordered\"",
		},
		{
			"a DSN as a duration", "open_timeout = \"app:" + password + "@tcp(h)\"\n" + cluster,
			"clustersql: config.toml:1: open_timeout: \"***\" is not a duration: write one with its unit, as in \"1.5s\" or \"600ms\"",
		},
		{
			"a DSN as a driver", "[[cluster]]\nname = \"c\"\ndriver = \"app:" + password + "@tcp(h)\"" + node,
			"clustersql: config.toml:3: cluster \"c\": driver: database/sql knows no driver \"***\": import its package for its side effect, as in import _ \"github.com/go-sql-driver/mysql\"; registered are " + strings.Join(sql.Drivers(), ", "),
		},
		{
			"a DSN as a name", "[[cluster]]\nname = \"c\"\n  [[cluster.node]]\n  name = \"app:" + password + "@tcp(h)/db\"\n  dsn = \"\"",
			"clustersql: config.toml:4: cluster \"c\": node: name: it is a DSN with a password, and names are shown: give a name of another kind, and the DSN at the key of its own",
		},
		{
			"a DSN as a name, with its slash lost", "[[cluster]]\nname = \"c\"\n  [[cluster.node]]\n  name = \"app:" + password + "@tcp(h)\"\n  dsn = \"\"",
			"clustersql: config.toml:5: cluster \"c\": node \"***\": dsn: it is missing or empty: give the DSN as the driver takes it",
		},
		{
			"pairs as a name", "[[cluster]]\nname = \"c\"\n[[cluster.node]]\nname = \"host=h user=app password=" + password + "\"\ndsn = \"\"",
			"clustersql: config.toml:4: cluster \"c\": node: name: it is a DSN with a password, and names are shown: give a name of another kind, and the DSN at the key of its own",
		},
		{
			"pairs as a driver", "[[cluster]]\nname = \"c\"\ndriver = \"host=h user=app password=" + password + "\"" + node,
			"clustersql: config.toml:3: cluster \"c\": driver: database/sql knows no driver \"***\": import its package for its side effect, as in import _ \"github.com/go-sql-driver/mysql\"; registered are " + strings.Join(sql.Drivers(), ", "),
		},
		{
			"a URL as a cluster's name", "[[cluster]]\nname = \"postgres://h/db?user=app&password=" + url.QueryEscape(password) + "\" # " + password + "\n",
			"clustersql: config.toml:2: cluster: name: it is a DSN with a password, and names are shown: give a name of another kind, and the DSN at the key of its own",
		},
		{
			"original: pairs with semicolons as a name", "[[Nodes]] # " + password + "\nName = \"Server=h;User Id=app;Password=" + password + "\"\n",
			"clustersql: config.toml:2: Nodes: Name: it is a DSN with a password, and names are shown: give a name of another kind, and the DSN at the key of its own",
		},
		{
			"original: a long number as a port", "[[Nodes]] # " + password + "\nName = \"n\"\nHostName = \"h\"\nPort = 123456789012\n",
			"clustersql: config.toml:4: Nodes: \"n\": Port: *** is no port: write one from 1 to 65535",
		},
		{
			"a long number as a count", "rise = 123456789012 # " + password + "\n" + cluster,
			"clustersql: config.toml:1: cluster \"c\": rise: *** is too large: write a number from 1 to 1000",
		},
		{
			"a long number as a duration", "max_age = 123456789012 # " + password + "\n" + cluster,
			"clustersql: config.toml:1: max_age: *** has no unit: write \"***s\" for seconds",
		},
		{
			"the password as a key", cluster + "  \"" + password + "\" = 1\n",
			"clustersql: config.toml:6: cluster \"c\": node: unknown key: the keys here are name, dsn, priority, weight",
		},
		{
			"a password that could be a strategy's name", "strategy = \"hunterxyz\" # " + password + "\n[[Nodes]]\nName = \"a\"\nHostName = \"h\"\nUserName = \"u\"\nPassword = \"hunterxyz\"",
			"clustersql: config.toml:1: strategy: unknown strategy \"***\": use \"race\", \"hedged\", \"balanced\" or \"ordered\"",
		},
		{
			"key twice", cluster + "  name = \"n2\"\n",
			"clustersql: config.toml:6: it is not TOML: a key or a table is there twice: texts stand in quotes, each key = value in a line of its own",
		},
		{
			"unknown key of the file", "probe_intervall = \"1s\"\n" + cluster,
			"clustersql: config.toml:1: probe_intervall: unknown key: the keys here are cluster, selftest, Nodes, " + keys,
		},
		{
			"unknown key of a cluster", cluster + "[[cluster]]\nname = \"d\"\nrize = 2" + node,
			"clustersql: config.toml:8: cluster: rize: unknown key: the keys here are name, driver, node, " + keys,
		},
		{
			"unknown key of a node", cluster + "[[cluster]]\nname = \"d\"" + node + "\n  pasword = \"" + password + "\"",
			"clustersql: config.toml:12: cluster \"d\": node: pasword: unknown key: the keys here are name, dsn, priority, weight",
		},
		{
			"unknown key of the selftest", cluster + "[selftest]\ntables = \"x\"",
			"clustersql: config.toml:7: selftest: tables: unknown key: the keys here are throwaway, table",
		},
		{
			"selftest of another type", "selftest = true\n" + cluster,
			"clustersql: config.toml:1: selftest: it is a boolean: write [selftest]",
		},
		{
			"selftest's key of another type", cluster + "[selftest]\nthrowaway = 3",
			"clustersql: config.toml:7: selftest: throwaway: it is a number: write true or false",
		},
		{
			"one table instead of an array", "[cluster]\nname = \"" + password + "\"",
			"clustersql: config.toml:1: cluster: it is a table and not an array of tables: write [[cluster]]",
		},
		{
			"array of something else", "cluster = [\"" + password + "\"]",
			"clustersql: config.toml:1: cluster: it is an array of something else than tables: write [[cluster]]",
		},
		{
			"cluster without a name", cluster + "\n[[cluster]]\nrise = 1",
			"clustersql: config.toml:7: cluster: name: it is missing or empty: give the cluster the name that sql.Open is to know it by",
		},
		{
			"cluster's name empty", cluster + "\n[[cluster]]\nrise = 1\nname = ''",
			"clustersql: config.toml:9: cluster: name: it is missing or empty: give the cluster the name that sql.Open is to know it by",
		},
		{
			"cluster twice", cluster + cluster,
			"clustersql: config.toml:7: cluster \"c\": name: line 2 has a cluster of this name: rename one",
		},
		{
			"cluster without nodes", cluster + "[[cluster]]\nname = \"d\"",
			"clustersql: config.toml:6: cluster \"d\": node: the cluster has no nodes: write at least one [[cluster.node]] with name and dsn",
		},
		{
			"node without a name", cluster + "\n  [[cluster.node]]\n  dsn = \"x\"",
			"clustersql: config.toml:7: cluster \"c\": node: name: it is missing or empty: give the node a name of its own",
		},
		{
			"node twice", cluster + node,
			"clustersql: config.toml:8: cluster \"c\": node \"n1\": name: line 4 has a node of this name: rename one",
		},
		{
			"node without a DSN", cluster + "  [[cluster.node]]\n  name = \"n2\"",
			"clustersql: config.toml:6: cluster \"c\": node \"n2\": dsn: it is missing or empty: give the DSN as the driver takes it",
		},
		{
			"empty DSN", cluster + "  [[cluster.node]]\n  name = \"n2\"\n  dsn = \"\"",
			"clustersql: config.toml:8: cluster \"c\": node \"n2\": dsn: it is missing or empty: give the DSN as the driver takes it",
		},
		{
			"DSN of another type", cluster + "  [[cluster.node]]\n  name = \"n2\"\n  dsn = [\"" + password + "\"]",
			"clustersql: config.toml:8: cluster \"c\": node \"n2\": dsn: it is an array: write a text in quotes",
		},
		{
			"DSN that the driver refuses", cluster + "  [[cluster.node]]\n  name = \"n2\"\n  dsn = \"app:" + password + "@tcp(h1:3306)\"",
			"clustersql: config.toml:8: cluster \"c\": node \"n2\": dsn: default addr for network '***' unknown: write it as driver \"mysql\" takes it",
		},
		{
			"the same from a variable", cluster + "  [[cluster.node]]\n  name = \"n2\"\n  dsn = \"${MISTAKES_DSN}\"",
			"clustersql: config.toml:8: cluster \"c\": node \"n2\": dsn: default addr for network '***' unknown: write it as driver \"mysql\" takes it",
		},
		{
			"variable missing", cluster + "  [[cluster.node]]\n  name = \"n2\"\n\n  dsn = \"app:${MISTAKES_NONE}@/db\"",
			"clustersql: config.toml:9: cluster \"c\": node \"n2\": dsn: the environment variable MISTAKES_NONE is not set: set it, or write $${ for a \"${\" that is meant literally",
		},
		{
			"variable empty", cluster + "  [[cluster.node]]\n  name = \"n2\"\n  dsn = \"app:${MISTAKES_EMPTY}@/db\"",
			"clustersql: config.toml:8: cluster \"c\": node \"n2\": dsn: the environment variable MISTAKES_EMPTY is empty: give it a value, or take ${MISTAKES_EMPTY} out",
		},
		{
			"variable not closed", cluster + "  [[cluster.node]]\n  name = \"n2\"\n  dsn = \"app:${" + password + "@/db\"",
			"clustersql: config.toml:8: cluster \"c\": node \"n2\": dsn: a \"${\" is not followed by a variable's name and \"}\": write ${NAME}, or $${ for a \"${\" that is meant literally",
		},
		{
			"duration without a unit", "open_timeout = 5\n" + cluster,
			"clustersql: config.toml:1: open_timeout: 5 has no unit: write \"5s\" for seconds",
		},
		{
			"duration of a cluster", cluster + "[[cluster]]\nname = \"d\"\nopen_timeout = \"5 s\"" + node,
			"clustersql: config.toml:8: cluster \"d\": open_timeout: \"5 s\" is not a duration: write one with its unit, as in \"1.5s\" or \"600ms\"",
		},
		{
			"duration that is none", "[[cluster]]\nname = \"c\"\nloser_grace = \"-1s\"" + node,
			"clustersql: config.toml:3: cluster \"c\": loser_grace: -1s is not a positive duration: write one with a unit, as in \"1.5s\"",
		},
		{
			"number as a text", "[[cluster]]\nname = \"c\"\nrise = \"2\"" + node,
			"clustersql: config.toml:3: cluster \"c\": rise: \"2\" is not a number: write one as in 8",
		},
		{
			"number too small", "rise = 0\n" + cluster,
			"clustersql: config.toml:1: cluster \"c\": rise: 0 is too small: it must be at least 1",
		},
		{
			"duration that is too long", "[[cluster]]\nname = \"c\"\nprobe_interval = \"2562047h\"" + node,
			"clustersql: config.toml:3: cluster \"c\": probe_interval: 2562047h0m0s is too long: write \"24h\" at most",
		},
		{
			"count that is too large", "fall = 1001\n" + cluster,
			"clustersql: config.toml:1: cluster \"c\": fall: 1001 is too large: write a number from 1 to 1000",
		},
		{
			"settings in conflict", "[[cluster]]\nname = \"c\"\nopen_timeout = \"1s\"\nattempt_timeout = \"2s\"" + node,
			"clustersql: config.toml:4: cluster \"c\": attempt_timeout: 2s is above open_timeout (1s): lower it, or raise open_timeout",
		},
		{
			"default in conflict with a cluster", "attempt_timeout = \"2s\"\n[[cluster]]\nname = \"c\"\nopen_timeout = \"1s\"" + node,
			"clustersql: config.toml:1: cluster \"c\": attempt_timeout: 2s is above open_timeout (1s): lower it, or raise open_timeout",
		},
		{
			"unknown strategy", "[[cluster]]\nname = \"c\"\nstrategy = \"fast\"" + node,
			"clustersql: config.toml:3: cluster \"c\": strategy: unknown strategy \"fast\": use \"race\", \"hedged\", \"balanced\" or \"ordered\"",
		},
		{
			"unknown driver", "[[cluster]]\nname = \"c\"\ndriver = \"mysqll\"" + node,
			"clustersql: config.toml:3: cluster \"c\": driver: database/sql knows no driver \"mysqll\": import its package for its side effect, as in import _ \"github.com/go-sql-driver/mysql\"; registered are " + strings.Join(sql.Drivers(), ", "),
		},
		{
			"cluster of clusters", "[[cluster]]\nname = \"c\"\ndriver = \"clustersql\"" + node,
			"clustersql: config.toml:3: cluster \"c\": driver: it is a cluster of clustersql itself: name the driver of the nodes, as in \"mysql\"",
		},
		{
			"driver that refuses every DSN", "[[cluster]]\nname = \"c\"\ndriver = \"" + refuses + "\"" + node,
			"clustersql: config.toml:3: cluster \"c\": driver: driver \"" + refuses + "\" refuses the DSN of node \"n1\": cannot use \"***\"",
		},
		{
			"both forms", cluster + "[[Nodes]]\nName = \"n\"",
			"clustersql: config.toml:6: Nodes: the file has clusters as well: write either [[Nodes]] for one cluster or [[cluster]]s",
		},
		{
			"original: not tables", "Nodes = 1 # " + password,
			"clustersql: config.toml:1: Nodes: it is a number and not an array of tables: write [[Nodes]]",
		},
		{
			"original: empty", "rise = 1\nNodes = [] # " + password,
			"clustersql: config.toml:2: Nodes: it is empty: write at least one [[Nodes]] with Name and HostName",
		},
		{
			"original: no name", "[[Nodes]]\nHostName = \"h\"\nPassword = \"" + password + "\"",
			"clustersql: config.toml:1: Nodes: Name: it is missing or empty: give the node a name of its own",
		},
		{
			"priority as a text", cluster + "  [[cluster.node]]\n  name = \"n2\"\n  dsn = \"x\"\n  priority = \"1\"",
			"clustersql: config.toml:9: cluster \"c\": node \"n2\": priority: \"1\" is not a number: write one as in 8",
		},
		{
			"negative priority", cluster + "  [[cluster.node]]\n  name = \"n2\"\n  dsn = \"x\"\n  priority = -1",
			"clustersql: config.toml:9: cluster \"c\": node \"n2\": priority: -1 is out of range: write a number from 0, used first, to 65535",
		},
		{
			"weight of nothing", cluster + "  [[cluster.node]]\n  name = \"n2\"\n  dsn = \"x\"\n  weight = 0",
			"clustersql: config.toml:9: cluster \"c\": node \"n2\": weight: 0 is out of range: write a number from 1 to 65535",
		},
		{
			"original: twice", "[[Nodes]]\nHostName = \"h\"\nName=\"a\"\n\n[[Nodes]]\nHostName = \"h\"\nName=\"a\"\nUserName=\"u\"\nPassword = \"" + password + "\"",
			"clustersql: config.toml:7: Nodes: \"a\": Name: line 3 has a node of this name: rename one",
		},
		{
			"original: no host", "[[Nodes]]\nName = \"a\"\nPassword = \"" + password + "\"",
			"clustersql: config.toml:1: Nodes: \"a\": HostName: it is missing or empty: give the server's name or address",
		},
		{
			"original: port as a text", "[[Nodes]]\nName = \"a\"\nHostName=\"h\"\nPort=\"3306\"\nPassword = \"" + password + "\"",
			"clustersql: config.toml:4: Nodes: \"a\": Port: it is a text: write a number without quotes, as in 3306",
		},
		{
			"original: no port", "[[Nodes]]\nName = \"a\"\nHostName=\"h\"\nPort=0\nPassword = \"" + password + "\"",
			"clustersql: config.toml:4: Nodes: \"a\": Port: 0 is no port: write one from 1 to 65535",
		},
		{
			"original: password without a user", "[[Nodes]]\nName = \"a\"\nHostName=\"h\"\nPassword = \"" + password + "\"",
			"clustersql: config.toml:1: Nodes: \"a\": a mysql DSN cannot hold this UserName: it must not be empty when there is a Password, and have no colon",
		},
		{
			"original: host that is none", "[[Nodes]]\nName = \"a\"\nHostName=\"h/@\"\nUserName=\"u\"\nPassword = \"" + password + "\"",
			"clustersql: config.toml:1: Nodes: \"a\": HostName or DBName has a character that a mysql DSN cannot hold",
		},
		{
			"original: unknown key", "[[Nodes]]\nName = \"a\"\nHost=\"h\"\nPassword = \"" + password + "\"",
			"clustersql: config.toml:3: Nodes: Host: unknown key: the keys here are Name, HostName, Port, UserName, Password, DBName",
		},
		{
			"original: key twice", "[[Nodes]]\nName = \"a\"\nPassword = \"" + password + "\"\nname = \"b\"",
			"clustersql: config.toml:4: Nodes: name: it is there twice: take one out",
		},
		{
			"a setting that the backend cannot keep", "[[cluster]]\nname = \"c\"\nrequire = \"writable\"\ndriver = \"" + generic + "\"" + node,
			"clustersql: config.toml:3: cluster \"c\": require: \"writable\" needs to know what a node is, and the backend's database is not known: set dialect = \"mysql\" or \"postgres\" if it wraps a driver of these, or use role_query",
		},
		{
			"original: settings in conflict", "fall = 0\n[[Nodes]]\nName = \"a\"\nHostName = \"h\"\nPassword = \"" + password + "\"",
			"clustersql: config.toml:1: fall: 0 is too small: it must be at least 1",
		},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if tc.text != "" && !strings.Contains(tc.text, password) {
				t.Error("the case has no password to be seen")
			}
			inFile(t, tc.text)
			_, err := Load("")
			if err == nil || err.Error() != tc.want {
				t.Errorf("\ngot  %v\nwant %s", err, tc.want)
			}
			if strings.Contains(fmt.Sprint(err), password) {
				t.Error("the message holds the password")
			}
			var mistake *conffile.Mistake
			if !errors.As(err, &mistake) || mistake.Path != conffile.DefaultPath {
				t.Errorf("got a %T", err)
			}
		})
	}
}

// configFileSecret is a password, and configFileSlips are ways to get one into a
// file.
const configFileSecret = "Hunter22xyz"

var configFileSlips = []string{
	configFileSecret, `"` + configFileSecret + `"`, "'" + configFileSecret + "'", `"""` + configFileSecret, "1" + configFileSecret,
	" = \"" + configFileSecret + "\"\n", "# " + configFileSecret + "\n", configFileSecret + ":x@tcp(h)/", `\` + configFileSecret,
}

var configFileSeeds = []string{
	"rise = 3\n[[cluster]]\nname = \"c\"\n[[cluster.node]]\nname = \"n\"\ndsn = \"app:pw@tcp(h)/db\"\n",
	"[selftest]\ntable = \"t\"\n[[Nodes]]\nName = \"n\"\nHostName = \"h\"\nPort = 3306\nUserName = \"u\"\nPassword = \"p\"\nDBName = \"d\"\n",
	"cluster = [{name = 'c', node = [{name = 'n', dsn = '${X}'}]}]\nopen_timeout = 5",
	"[[cluster]]\nname = 2001-01-01\n[cluster.node]\nname = [1, {a = 'b'}]",
	"strategy = \nrise = \"\"\n\"\" = \"\"\ncheck = \"\"\nmax_age = 5\n[[Nodes]]\nPassword = ",
}

// The error for a file does not show a password, wherever in the file it
// stands.
func TestNoMistakeShowsAPassword(t *testing.T) {
	for _, text := range configFileSeeds {
		for at := range len(text) + 1 {
			for _, slip := range configFileSlips {
				checkConfigFile(t, text[:at]+slip+text[at:])
			}
		}
	}
	for _, key := range fileKeys.Settings {
		for _, slip := range configFileSlips {
			checkConfigFile(t, key+" = "+slip+"\n"+configFileSeeds[0])
		}
	}
}

// FuzzConfigFile: for any text there is either an error with a line of the
// file, or clusters that can be built. The error does not show
// the password.
func FuzzConfigFile(f *testing.F) {
	for _, seed := range configFileSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkConfigFile(t, text)
		for i, slip := range configFileSlips {
			at := (i + 1) * len(text) / len(configFileSlips)
			checkConfigFile(t, text[:at]+slip+text[at:])
		}
	})
}

func checkConfigFile(t *testing.T, text string) {
	t.Helper()
	file, err := conffile.Parse("x", text, fileKeys)
	var clusters []clusterSpec
	if err == nil {
		clusters, err = specs(file)
	}
	if err != nil {
		checkMistake(t, text, err)
		return
	}
	if len(clusters) == 0 {
		t.Fatalf("%q has neither clusters nor an error", text)
	}
	for _, c := range clusters {
		if c.name == "" || len(c.in.Nodes) == 0 || c.cfg.validate() != nil || c.cfg.OpenTimeout < time.Millisecond {
			t.Fatalf("%q: %+v", text, c)
		}
		for _, n := range c.in.Nodes {
			if n.Name == "" || n.DSN == "" && n.Account == nil {
				t.Fatalf("%q: %+v", text, n)
			}
		}
	}
}

// checkMistake checks the error for a file. The name of a cluster or node
// is shown, so it may hold the password.
func checkMistake(t *testing.T, text string, err error) {
	t.Helper()
	var mistake *conffile.Mistake
	if !errors.As(err, &mistake) || mistake.Line < 0 || mistake.Line > strings.Count(text, "\n")+1 {
		t.Fatalf("%q: %#v", text, err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%s"} {
		shown := fmt.Sprintf(verb, mistake.Err) + fmt.Sprintf(verb, err)
		if !strings.Contains(mistake.What, configFileSecret) && strings.Contains(shown, configFileSecret) {
			t.Fatalf("%s of the error for %q: %s", verb, text, shown)
		}
	}
}
