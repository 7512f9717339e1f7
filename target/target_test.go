package target_test

import (
	"math/rand/v2"
	"testing"

	"oakum.dev/target"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		in                 string
		concurrency, error bool // accepted as MaxConcurrency, as MaxErrors
	}{
		{"1", true, true},
		{"50", true, true},
		{"9999999", true, true},
		{"0", false, true},
		{"1%", true, true},
		{"100%", true, true},
		{"0%", false, true},
		{"101%", false, false},
		{"99999999", false, false},
		{"-1", false, false},
		{"+1", false, false},
		{"", false, false},
		{"%", false, false},
		{"01", false, false},
		{"1.5", false, false},
		{" 1", false, false},
		{"1 %", false, false},
	} {
		r, err := target.ParseMaxConcurrency(tc.in)
		if (err == nil) != tc.concurrency {
			t.Errorf("ParseMaxConcurrency(%q) = %v", tc.in, err)
		}
		if err == nil && r.String() != tc.in {
			t.Errorf("ParseMaxConcurrency(%q) prints as %s", tc.in, r)
		}
		if _, err := target.ParseMaxErrors(tc.in); (err == nil) != tc.error {
			t.Errorf("ParseMaxErrors(%q) = %v", tc.in, err)
		}
	}
}

func TestNewControl(t *testing.T) {
	for _, tc := range []struct {
		concurrency, errors string
		targets             int
		want                target.Control
	}{
		{"50", "0", 7, target.Control{Concurrency: 50}},
		{"10%", "10%", 50, target.Control{Concurrency: 5, Errors: 5}},
		{"10%", "10%", 59, target.Control{Concurrency: 5, Errors: 5}},
		{"1%", "1%", 99, target.Control{Concurrency: 1, Errors: 0}},
		{"100%", "100%", 3, target.Control{Concurrency: 3, Errors: 3}},
		{"10%", "0", 0, target.Control{Concurrency: 1}},
	} {
		c, _ := target.ParseMaxConcurrency(tc.concurrency)
		e, _ := target.ParseMaxErrors(tc.errors)
		if got := target.NewControl(c, e, tc.targets); got != tc.want {
			t.Errorf("NewControl(%s, %s, %d) = %+v, want %+v", tc.concurrency, tc.errors, tc.targets, got, tc.want)
		}
	}
}

func TestRampDoubles(t *testing.T) {
	c := target.Control{Concurrency: 100}
	p := target.Progress{Targets: 1000}
	for _, want := range []int{1, 2, 4, 8, 16, 32, 37, 0} {
		n := c.Claimable(p)
		if n != want {
			t.Fatalf("Claimable(%+v) = %d, want %d", p, n, want)
		}
		p.Claimed += n
		if n > 0 && c.Claimable(p) != 0 {
			t.Fatalf("Claimable(%+v) = %d before any acknowledgement", p, c.Claimable(p))
		}
		p.Delivered = p.Claimed
	}
	p.Terminal = 3
	if n := c.Claimable(p); n != 3 {
		t.Errorf("after the ramp three ends free %d places, want 3", n)
	}
}

// TestControlAgainstModel drives random commands and compares with a model that keeps every invocation and
// counts the ramp batch by batch.
func TestControlAgainstModel(t *testing.T) {
	const pending, claimed, delivered, ended, lost = 0, 1, 2, 3, 4
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		n := 1 + r.IntN(80)
		c := target.Control{Concurrency: 1 + r.IntN(40), Errors: r.IntN(6), NoRamp: r.IntN(5) == 0}
		state := make([]int, n)
		errors, acked := 0, 0
		count := func(want ...int) (total int) {
			for _, s := range state {
				for _, w := range want {
					if s == w {
						total++
					}
				}
			}
			return total
		}
		for range 600 {
			p := target.Progress{
				Targets: n, Claimed: n - count(pending), Delivered: acked,
				Terminal: count(ended, lost), Lost: count(lost), Errors: errors,
			}
			got := c.Claimable(p)
			// The model: batches of 1, 2, 4, ...; a batch opens when all nodes of the earlier ones acknowledged.
			open, size := 1, 1
			for acked >= open {
				size *= 2
				open += size
			}
			want := 0
			for want < count(pending) {
				inFlight := count(claimed, delivered) + want
				started := p.Claimed - p.Lost + want
				if errors > c.Errors || inFlight >= c.Concurrency || !c.NoRamp && open < c.Concurrency && started >= open {
					break
				}
				want++
			}
			if got != want {
				t.Fatalf("seed %d: %+v.Claimable(%+v) = %d, want %d", seed, c, p, got, want)
			}
			if take := min(got, r.IntN(4)); take > 0 {
				for i := range state {
					if state[i] == pending && take > 0 {
						state[i] = claimed
						take--
					}
				}
			}
			if inFlight := count(claimed, delivered); inFlight > c.Concurrency {
				t.Fatalf("seed %d: %d in flight, limit %d", seed, inFlight, c.Concurrency)
			}
			switch i := r.IntN(n); {
			case state[i] == claimed && r.IntN(4) > 0:
				state[i] = delivered
				acked++
			case state[i] == claimed:
				state[i] = lost
			case state[i] == delivered:
				state[i] = ended
				if r.IntN(8) == 0 {
					errors++
				}
			}
		}
		if errors <= c.Errors && count(pending) > 0 && count(claimed, delivered) == 0 {
			p := target.Progress{Targets: n, Claimed: n - count(pending), Delivered: acked, Terminal: count(ended, lost), Lost: count(lost), Errors: errors}
			if c.Claimable(p) == 0 {
				t.Fatalf("seed %d: nothing in flight, %d pending, and nothing claimable", seed, count(pending))
			}
		}
	}
}

func TestStopped(t *testing.T) {
	c := target.Control{Concurrency: 1, Errors: 3}
	if c.Stopped(target.Progress{Errors: 3}) || !c.Stopped(target.Progress{Errors: 4}) {
		t.Error("MaxErrors 3 must stop at the fourth error")
	}
}

func TestMatch(t *testing.T) {
	node := target.Node{ID: "mi-1", Tags: map[string]string{"Env": "prod", "Empty": ""}, Groups: []string{"web"}, Types: []string{"AWS::SSM::ManagedInstance"}}
	for _, tc := range []struct {
		name    string
		targets []target.Target
		valid   bool
		want    bool
	}{
		{"none", nil, true, false},
		{"id", []target.Target{{"instanceids", []string{"mi-1", "mi-2"}}}, true, true},
		{"every_node", []target.Target{{"InstanceIds", []string{"*"}}}, true, true},
		{"tag", []target.Target{{"tag:Env", []string{"dev", "prod"}}}, true, true},
		{"tag_is_case_sensitive", []target.Target{{"tag:env", []string{"prod"}}}, true, false},
		{"empty_tag_value", []target.Target{{"tag:Empty", []string{""}}}, true, true},
		{"and", []target.Target{{"tag:Env", []string{"prod"}}, {"InstanceIds", []string{"mi-2"}}}, true, false},
		{"tag_keys_all", []target.Target{{"tag-key", []string{"Env", "Empty"}}}, true, true},
		{"tag_keys_one_missing", []target.Target{{"tag-key", []string{"Env", "Owner"}}}, true, false},
		{"group", []target.Target{{"resource-groups:Name", []string{"web"}}, {"resource-groups:ResourceTypeFilters", []string{"AWS::EC2::Instance"}}}, true, false},
		{"type_without_group", []target.Target{{"resource-groups:ResourceTypeFilters", []string{"AWS::SSM::ManagedInstance"}}}, false, true},
		{"unknown_key", []target.Target{{"name", []string{"x"}}}, false, false},
		{"no_values", []target.Target{{"tag:Env", nil}}, false, false},
		{"too_many", make([]target.Target, 6), false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := target.Validate(tc.targets); (err == nil) != tc.valid {
				t.Errorf("Validate = %v", err)
			}
			if got := target.Match(tc.targets, node); got != tc.want {
				t.Errorf("Match = %v, want %v", got, tc.want)
			}
		})
	}
}
