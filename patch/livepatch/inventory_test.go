package livepatch_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/patch/livepatch"
)

// TestEntry: the inventory has the state and what is behind it, and nothing that is not known.
func TestEntry(t *testing.T) {
	t.Parallel()
	facts := livepatch.Gather(t.Context(), livepatch.Node{
		OS: baseline.AmazonLinux2023, Arch: "x86_64", Kernel: al2023, FS: sys("livepatch_CVE_2022_36946 1 0"), Now: now,
		Exec:     &recorded{answers: amazonAnswers(kpatchAmazon, supportMsg+"2027-02-01.\n")},
		Packages: pkgs("kpatch-dnf", "kpatch-runtime", patch57, patch56, "bash 5-1"),
	})
	s := livepatch.Decide(facts)
	want := map[string]string{
		"State": "Active", "System": "Amazon Linux", "Kernel": al2023, "Modules": "livepatch_CVE_2022_36946", "LivePatches": "kernel-livepatch-6.1.57-29.131-1.0-2.amzn2023",
		"OtherLivePatches": "kernel-livepatch-6.1.56-1.1-1.0-3.amzn2023", "Service": "enabled", "CVEs": "CVE-2022-36946", "SupportEnd": "2027-02-01", "Transition": "false",
	}
	if diff := cmp.Diff(want, s.Entry(facts.Problems)); diff != "" {
		t.Errorf("Entry (-want +got):\n%s", diff)
	}
	s = livepatch.Decide(&livepatch.Facts{OS: baseline.Debian, Kernel: "6.1.0-1-amd64", Arch: "x86_64", Now: now})
	want = map[string]string{"State": "Unsupported", "Kernel": "6.1.0-1-amd64", "Detail": "there are no live patches for this system"}
	if diff := cmp.Diff(want, s.Entry(nil)); diff != "" {
		t.Errorf("Entry of a Debian node (-want +got):\n%s", diff)
	}
}

// TestEntryIsBounded: what tools print fits into attributes and holds no control characters.
func TestEntryIsBounded(t *testing.T) {
	t.Parallel()
	s := livepatch.Status{
		State: livepatch.Failed, Modules: slices.Repeat([]string{"livepatch_CVE_2026_1"}, 100000), Kernel: strings.Repeat("é", 5000), Detail: "\x1b[2J\xff\x00",
		CVEs: []string{strings.Repeat("x", 10000)}, SupportEnd: time.Time{},
	}
	for k, v := range s.Entry([]string{strings.Repeat("y", 1<<20)}) {
		if len(v) > 4096 || !utf8.ValidString(v) || strings.ContainsAny(v, "\x1b\x00") {
			t.Errorf("%s has %d bytes: %.40q", k, len(v), v)
		}
	}
	if got := s.Entry(nil)["Modules"]; !strings.HasSuffix(got, " more") {
		t.Errorf("Modules end with %q", got[len(got)-30:])
	}
}
