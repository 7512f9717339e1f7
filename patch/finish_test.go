package patch

import "testing"

func TestAccountOfARunThatStopped(t *testing.T) {
	t.Parallel()
	up, down, gone, stays := Change{Name: "a", Old: "1", New: "2"}, Change{Name: "b", Old: "2", New: "1"}, Change{Name: "c", Old: "1"}, Change{Name: "d", Old: "3"}
	for _, tc := range []struct {
		planned, changed []Change
		want             string
	}{
		{nil, nil, "nothing was installed"},
		{[]Change{up, down}, []Change{up}, "installed: a 2; not installed: b 1"},
		{[]Change{down, gone, stays}, []Change{down, gone}, "installed: b 1; not installed: nothing; removed: c 1; not removed: d 3"},
	} {
		if got := account(tc.planned, tc.changed); got != tc.want {
			t.Errorf("account(%v, %v) = %q, want %q", tc.planned, tc.changed, got, tc.want)
		}
	}
}
