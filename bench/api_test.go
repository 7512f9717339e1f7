// Package bench holds the benchmarks: each as a ratio against what a user would use instead, in one run.
// "make bench" runs them and prints the table.
package bench

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/oakumtest"
	"oakum.dev/internal/oakumtest/servertest"
	"oakum.dev/wire/ssm"
)

func TestMain(m *testing.M) { oakumtest.Main(m) }

// packages is a result as a Debian node of 500 packages gives it, a tenth of them missing.
func result(node int) *compliance.Result {
	r := &compliance.Result{Header: compliance.Header{
		OperatingSystem: baseline.Debian, Product: "Debian12", PlatformName: "Debian GNU/Linux", PlatformVersion: "12", BaselineID: "pb-97c78bc0fe11ce81b",
		BaselineName: "AWS-DebianDefaultPatchBaseline", SnapshotID: "9dfed39f-c7c7-415e-b287-7ea15e974b20", Operation: "Scan", BootID: "b",
		StartedAt: time.Now().Add(-time.Second), EndedAt: time.Now(),
	}}
	for i := range 500 {
		name := fmt.Sprintf("package-%d", i)
		it := compliance.Item{
			ID: name + ".amd64", Name: name, Arch: "amd64", Title: fmt.Sprintf("%s.amd64:1.%d.%d-1", name, i, node%7), State: compliance.InstalledOther,
			Level: baseline.Unspecified, InstalledVersion: fmt.Sprintf("1.%d.%d-1", i, node%7), InstalledTime: time.Unix(1_790_000_000+int64(i), 0).UTC(),
		}
		if i%10 == 0 {
			it.State, it.Classification, it.Severity = compliance.Missing, "Security", "optional"
			it.AvailableVersion = it.InstalledVersion + "+deb12u1"
		}
		r.Items = append(r.Items, it)
	}
	r.Finish(0)
	return r
}

// BenchmarkAPI counts signed requests a second over real connections, client and server on the same machine.
func BenchmarkAPI(b *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		s := servertest.Start(b, engine)
		nodes := s.Nodes(64)
		for i, n := range nodes {
			if err := n.PutResult(b.Context(), result(i)); err != nil {
				b.Fatal(err)
			}
		}
		run := func(op string, call func(n *servertest.Node) error) {
			b.Run(engine+"/"+op, func(b *testing.B) {
				var next atomic.Int64
				b.SetParallelism(8)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := call(nodes[int(next.Add(1))%len(nodes)]); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			})
		}
		run("DescribePatchBaselines", func(*servertest.Node) error {
			return s.Call(b.Context(), s.Admin, "ssm", "DescribePatchBaselines", &ssm.DescribePatchBaselinesInput{}, nil)
		})
		run("DescribeInstancePatchStates", func(n *servertest.Node) error {
			return s.Call(b.Context(), s.Admin, "ssm", "DescribeInstancePatchStates", &ssm.DescribeInstancePatchStatesInput{InstanceIds: []string{n.ID}}, nil)
		})
		run("UpdateInstanceInformation", func(n *servertest.Node) error {
			return n.Call(b.Context(), "ssm", "UpdateInstanceInformation", &ssm.UpdateInstanceInformationInput{InstanceId: &n.ID, AgentVersion: new("1")}, nil)
		})
		inventory := nodes[0].Inventory(result(0))
		run("PutInventory", func(n *servertest.Node) error {
			in := *inventory
			in.InstanceId = &n.ID
			return n.Call(b.Context(), "ssm", "PutInventory", &in, nil)
		})
	}
}

// BenchmarkStorage reports the bytes that one scan of one node adds to the database: changed packages in seven
// variants over the fleet, and unchanged ones.
func BenchmarkStorage(b *testing.B) {
	s := servertest.Start(b, "sqlite")
	nodes := s.Nodes(50)
	put := func(round int) {
		for i, n := range nodes {
			r := result(i)
			r.Header.EndedAt = r.Header.EndedAt.Add(time.Duration(round) * time.Minute)
			if err := n.PutResult(b.Context(), r); err != nil {
				b.Fatal(err)
			}
		}
	}
	empty := databaseSize(b, s)
	put(0)
	first := databaseSize(b, s)
	const rounds = 10
	for round := range rounds {
		put(round + 1)
	}
	later := databaseSize(b, s)
	b.Logf("%d bytes empty, %d after the first scans, %d after %d more rounds", empty, first, later, rounds)
	b.ReportMetric(float64(first-empty)/float64(len(nodes)), "bytes/node-first-scan")
	b.ReportMetric(float64(later-first)/float64(rounds*len(nodes)), "bytes/node-unchanged-scan")
	b.ReportMetric(0, "ns/op")
}

// databaseSize is the size of the database without its free pages, after a checkpoint.
func databaseSize(b *testing.B, s *servertest.Server) int64 {
	b.Helper()
	size, err := s.DatabaseBytes(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return size
}
