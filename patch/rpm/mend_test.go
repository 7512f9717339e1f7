package rpm

import (
	"context"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/patch/system"
	md "oakum.dev/repo/rpm"
)

// A package manager that is killed while it finishes what an interrupted transaction left is asked again, and is told about
// only when it goes on failing. Trap Y5.
func TestMenderAsksAgain(t *testing.T) {
	a, b := &md.Package{Name: "a", Version: "1", Release: "1", Arch: "noarch"}, &md.Package{Name: "b", Version: "1", Release: "1", Arch: "noarch"}
	for _, c := range []struct {
		name    string
		answers []string // of one call after the other; the last goes for all that follow
		of      []*md.Package
		calls   []string
		trouble []string
	}{
		{"well", []string{""}, []*md.Package{a, b}, []string{"ab"}, nil},
		{"killed once, one package", []string{"killed", ""}, []*md.Package{a}, []string{"a", "a"}, nil},
		{"killed twice, one package", []string{"killed", "killed", ""}, []*md.Package{a}, []string{"a", "a", "a"}, nil},
		{"killed once, two packages", []string{"killed", ""}, []*md.Package{a, b}, []string{"ab", "a", "b"}, nil},
		{"killed twice, two packages", []string{"killed", "killed", ""}, []*md.Package{a, b}, []string{"ab", "a", "a", "b"}, nil},
		{"never", []string{"gone"}, []*md.Package{a, b}, []string{"ab", "a", "a", "b", "b"}, []string{
			"a could not be installed once more: gone", "b could not be installed once more: gone",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var calls []string
			m := NewMender(system.Config{}, func(_ context.Context, packages []*md.Package, _ string, _ *os.File) (string, error) {
				names := ""
				for _, p := range packages {
					names += p.Name
				}
				calls = append(calls, names)
				return c.answers[min(len(calls), len(c.answers))-1], nil
			})
			trouble, err := m.again(t.Context(), c.of, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.calls, calls); d != "" {
				t.Errorf("asked for (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.trouble, trouble); d != "" {
				t.Errorf("told (-want +got):\n%s", d)
			}
			if done := len(m.done); (len(c.trouble) == 0) != (done == len(c.of)) {
				t.Errorf("%d are done", done)
			}
		})
	}
}
