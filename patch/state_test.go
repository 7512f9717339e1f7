package patch

import (
	"slices"
	"strings"
	"testing"

	"oakum.dev/compliance"
)

// TestLostLivePatches: modules that a reboot took away are missed until they are back, or nobody expects them any more.
func TestLostLivePatches(t *testing.T) {
	t.Parallel()
	active := compliance.LivePatch{State: "Active", Kernel: "6.1.57-29.131", Modules: []string{"livepatch_CVE_2026_1"}, Packages: []string{"kernel-livepatch-6.1.57-29.131-1.0-2"}}
	gone := active
	gone.State, gone.Modules, gone.Service = "Stale", nil, "disabled"
	other := gone
	other.Kernel = "6.1.61-85.141"
	moving := gone
	moving.Transition = true
	removed := gone
	removed.Packages = nil
	type scan struct {
		boot string
		lp   *compliance.LivePatch
		lost bool
	}
	for _, tc := range []struct {
		name  string
		scans []scan
	}{
		{"lost_and_still_lost_and_back", []scan{{"a", &active, false}, {"b", &gone, true}, {"b", &gone, true}, {"c", &gone, true}, {"c", &active, false}, {"c", &gone, false}}},
		{"kept", []scan{{"a", &active, false}, {"b", &active, false}}},
		{"never_there", []scan{{"a", &gone, false}, {"b", &gone, false}}},
		{"on_its_way", []scan{{"a", &active, false}, {"b", &moving, false}, {"b", &active, false}}},
		{"on_its_way_out", []scan{{"a", &active, false}, {"b", &moving, false}, {"b", &gone, true}}},
		{"unloaded_by_hand", []scan{{"a", &active, false}, {"a", &gone, false}, {"b", &gone, false}}},
		{"another_kernel", []scan{{"a", &active, false}, {"b", &other, false}, {"b", &gone, false}}},
		{"turned_off", []scan{{"a", &active, false}, {"b", &removed, false}, {"c", &gone, false}}},
		{"no_live_patching_any_more", []scan{{"a", &active, false}, {"b", nil, false}}},
		{"boots_are_not_told_apart", []scan{{"", &active, false}, {"", &gone, false}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for i, scan := range tc.scans {
				s, err := loadState(dir)
				if err != nil {
					t.Fatal(err)
				}
				var lp *compliance.LivePatch
				if scan.lp != nil {
					c := *scan.lp
					lp = &c
				}
				s.observe(lp, scan.boot)
				if err := s.save(dir); err != nil {
					t.Fatal(err)
				}
				switch alarm := lp.Alarm(); {
				case scan.lost && (!slices.Equal(lp.Lost, active.Modules) || !strings.Contains(alarm, "livepatch_CVE_2026_1; kpatch.service, which loads them at boot, is not enabled")):
					t.Errorf("scan %d: lost %v, alarm %q", i, lp.Lost, alarm)
				case !scan.lost && alarm != "":
					t.Errorf("scan %d: alarm %q", i, alarm)
				}
			}
		})
	}
}
