package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/wire/oakum"
)

// TestLivePatchText: a node that live patches protect says until when, and what it needs a reboot for all the same.
func TestLivePatchText(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	const debt = "protected until 2026-12-31 by live patches; still needs a reboot into kernel 6.1.60-1 for: CVE-2026-3"
	for _, tc := range []struct {
		name string
		lp   *compliance.LivePatch
		days int // after the scan
		want string
	}{
		{"no_live_patching", nil, 0, ""},
		{"unsupported", &compliance.LivePatch{State: "Unsupported", Detail: "none"}, 0, ""},
		{"owed", &compliance.LivePatch{State: "Active", SupportEnd: end, Debt: debt}, 0, "Active: " + debt},
		{"nothing_owed", &compliance.LivePatch{State: "Active", SupportEnd: end}, 0, "Active: live patches until 2026-12-31"},
		{"on", &compliance.LivePatch{State: "Enabled"}, 0, "Enabled"},
		{"expires_since_the_scan", &compliance.LivePatch{State: "Active", SupportEnd: end, Debt: debt}, 30, "Expiring: " + debt},
		{"expired_since_the_scan", &compliance.LivePatch{State: "Active", SupportEnd: end, Debt: debt}, 40, "Expired: live patches ended on 2026-12-31; before, it was " + debt},
		{"said_once", &compliance.LivePatch{State: "Expiring", SupportEnd: end, Debt: debt, Detail: "the running kernel gets no more live patches after 2026-12-31; x"}, 0, "Expiring: " + debt + "; x"},
		{"stale", &compliance.LivePatch{State: "Stale", Detail: "the module m is installed and not loaded"}, 0, "Stale: the module m is installed and not loaded"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := livePatchText(tc.lp, noon.AddDate(0, 0, tc.days)); got != tc.want {
				t.Errorf("livePatchText(%+v) =\n%q, want\n%q", tc.lp, got, tc.want)
			}
		})
	}
}

// TestRebootDebtIsShown: the sentence stands in the table of a scan, in its JSON and on the node's page, also where no
// evidence asks for a reboot.
func TestRebootDebtIsShown(t *testing.T) {
	t.Parallel()
	h := testHeader()
	h.Reboot = compliance.Reboot{LivePatch: &compliance.LivePatch{
		State: "Active", SupportEnd: noon.AddDate(0, 2, 0), Debt: "protected until 2027-01-22 by live patches; still needs kernel 6.1.60-1 and a reboot for: CVE-2026-3 \x1b[2J",
		Lost: []string{"livepatch_x"}, Service: "disabled",
	}}
	var node bytes.Buffer
	nodes := testNodes()
	writeNode(&node, &nodes[0], h, []oakum.PatchItem{}, noon, 120, nil)
	res := &compliance.Result{Header: *h}
	var table, doc bytes.Buffer
	if err := writeScanTable(&Streams{Out: &table}, res); err != nil {
		t.Fatal(err)
	}
	if err := writeScanJSON(&Streams{Out: &doc}, res); err != nil {
		t.Fatal(err)
	}
	const alarm = "Warning: the reboot has taken live patches out of the running kernel: livepatch_x; kpatch.service, which loads them at boot, is not enabled"
	if !strings.Contains(node.String(), alarm) {
		t.Errorf("the node's page does not warn:\n%s", node.String())
	}
	for name, out := range map[string]string{"node": node.String(), "table": table.String(), "json": doc.String()} {
		if !strings.Contains(out, "protected until 2027-01-22 by live patches; still needs kernel 6.1.60-1 and a reboot for: CVE-2026-3") || strings.Contains(out, "\x1b") {
			t.Errorf("%s says nothing of the debt, or writes control sequences:\n%s", name, out)
		}
	}
}
