package server_test

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/oakumtest/servertest"
)

// A version stays in the catalogue as long as a node reports it, changed or not, and goes when none has for 90 days.
func TestCatalogueForgetsWhatNoNodeReports(t *testing.T) {
	t.Parallel()
	servertest.Engines(t, func(t *testing.T, s *servertest.Server) {
		ctx, c := t.Context(), s.SSM(s.Admin)
		catalogue := func(when string, want ...string) {
			t.Helper()
			in := &ssm.DescribeAvailablePatchesInput{Filters: []types.PatchOrchestratorFilter{{Key: str("PRODUCT"), Values: []string{"Debian12"}}}}
			got := []string{}
			for _, p := range must[*ssm.DescribeAvailablePatchesOutput](t)(c.DescribeAvailablePatches(ctx, in)).Patches {
				got = append(got, *p.Name+" "+*p.Version)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: the catalogue has %v, want %v", when, got, want)
			}
		}
		version := func(name, v string) compliance.Available {
			return compliance.Available{Name: name, Arch: "amd64", Version: v, Repository: "debian", Product: "Debian12"}
		}
		nodes := s.Nodes(2)
		scan := func(n *servertest.Node, versions ...compliance.Available) {
			t.Helper()
			try(t, n.Login(ctx))
			r := result(s.Now(), item("a", compliance.Installed, baseline.Low, "Security"))
			r.Available = versions
			try(t, n.PutResult(ctx, r))
		}
		old, next, kept := version("curl", "1"), version("curl", "2"), version("zlib", "1")
		scan(nodes[0], old, kept)
		scan(nodes[1], old)
		for day := 20; day <= 120; day += 20 { // one node goes on with the next version, the other falls silent
			s.Advance(20 * 24 * time.Hour)
			try(t, s.Retain(ctx))
			if day == 80 {
				catalogue("after 80 days", "curl 1", "curl 2", "zlib 1")
			}
			scan(nodes[0], next, kept)
		}
		try(t, s.Retain(ctx))
		catalogue("after 120 days", "curl 2", "zlib 1") // all of them last changed 100 days ago
		scan(nodes[1], old)                             // it comes back with the set of the first day
		catalogue("when the silent node is back", "curl 1", "curl 2", "zlib 1")
	})
}
