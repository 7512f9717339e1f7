package wua

import (
	"math"
	"testing"
	"time"
)

func TestDates(t *testing.T) {
	t.Parallel()
	for days, want := range map[float64]time.Time{
		46217.5:    time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC),
		25569:      time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		0:          {}, // the agent's way to say never
		math.NaN(): {},
		1e300:      {},
		-5:         {},
	} {
		if got := dateOf(days); !got.Equal(want) {
			t.Errorf("dateOf(%v) = %v, want %v", days, got, want)
		}
	}
}

// TestEdgeForms has what only the COM half uses.
func TestEdgeForms(t *testing.T) {
	t.Parallel()
	got := identityCriteria([]Identity{{"a", 1}, {"b", 20}})
	if want := "(UpdateID='a' and RevisionNumber=1) or (UpdateID='b' and RevisionNumber=20)"; got != want {
		t.Errorf("identityCriteria = %q, want %q", got, want)
	}
	if decimalOf(0, false, 1<<40) != 1<<40 || decimalOf(2, false, 100) != 0 || decimalOf(0, true, 1) != 0 || decimalOf(0, false, 1<<63) != 0 {
		t.Error("decimalOf takes fractions, negative or absurd sizes")
	}
}

// FuzzIdentities: what is read goes into a search, and must not be able to change it.
func FuzzIdentities(f *testing.F) {
	f.Add("00000000-0000-4000-8000-000000000015:200+00000000-0000-4000-8000-000000000016:200")
	f.Add("x' or IsInstalled=1:2")
	f.Fuzz(func(t *testing.T, s string) {
		ids, err := identities(s)
		if err != nil {
			return
		}
		for _, id := range ids {
			for _, c := range id.UpdateID {
				if c == '\'' || c == ' ' || c == '(' || c == '=' {
					t.Errorf("%q yields %q", s, id.UpdateID)
				}
			}
		}
	})
}
