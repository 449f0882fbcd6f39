// Package integration runs clustersql on real servers: MariaDB Galera nodes, and
// where they are to be had, members of MySQL's Group Replication.
package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/galera"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(droppedEnv); socket != "" {
		os.Exit(droppedChild(socket))
	}
	if given := strings.Fields(os.Getenv(lateFor)); len(given) > 0 {
		if err := lateProgram(given); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// All tests of the package use the same nodes, one after the other.
func TestGalera(t *testing.T) {
	c := galera.StartT(t, galera.Options{})
	for name, test := range map[string]func(*testing.T, *galera.Cluster){
		"a frozen node's connections are cut":     frozenNodeIsCut,
		"calls on a frozen node return soon":      hungCallsReturnSoon,
		"reads on a frozen node are hedged":       hedgedReadsOnAFrozenNode,
		"reads on a slow node are hedged":         hedgedReadsOnASlowNode,
		"reads that are slow everywhere":          hedgedReadsWhereAllAreSlow,
		"hedged reads avoid a donor":              hedgedReadsAvoidDonors,
		"a thousand adoptions":                    manyAdoptions,
		"a hung Commit is cut":                    hungCommitIsCut,
		"a network of the program's own":          customNetworkIsCutOnceTold,
		"the driver knows its sockets":            driverKnowsItsSockets,
		"losers are closed, not broken off":       losersAreClosed,
		"a silent node costs nobody anything":     silentNodeCostsNothing,
		"a node that refuses work is not used":    refusingNodeIsNotUsed,
		"a killed node is masked and comes back":  killedNodeIsMasked,
		"a connection whose packets are dropped":  droppedPacketsEndIt,
		"a token service's trouble":               tokenServiceIsNotTheNode,
		"a desynced node is last, then drained":   desyncedNodeIsLast,
		"a read-only node gives no connection":    readOnlyNodeIsNotUsed,
		"a READ ONLY transaction is no evidence":  readOnlyTransactionIsNoEvidence,
		"the status of a rejecting node is good":  rejectingNodeIsSeen,
		"an isolated node is out, and back":       isolatedNodeIsSeen,
		"the program of the README":               readmeProgram,
		"a program that knows a DSN and no more":  hostListDSN,
		"the self-test on a user's own nodes":     selfTestOnOwnNodes,
		"a transaction stays on one node":         transactionStays,
		"prepared statements, arguments and rows": statementsWork,
		"refused statements move unseen":          refusedStatementsMoveUnseen,
		"refused halves surface":                  refusedHalvesSurface,
		"what a session holds does not move":      heldStateStays,
		"lost reads run again where they may":     lostReadsRunAgain,
		"what a probe costs":                      probesCostGalera,
		"mistakes are told at once":               mistakesAreToldAtOnce,
		"the members of a group are found":        groupIsDiscovered,
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
}

// run runs statements as the administrator. It returns when every node has
// applied them.
func run(t *testing.T, c *galera.Cluster, statements ...string) {
	t.Helper()
	if err := c.Exec(t.Context(), statements...); err != nil {
		t.Fatal(err)
	}
}
