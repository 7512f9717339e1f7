package dnf

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/patch/rpm"
)

// dnf's table as it is written where there is no terminal.
func TestReadTable(t *testing.T) {
	t.Parallel()
	const head = `Last metadata expiration check: 0:00:28 ago on Sun Nov 22 09:51:14 2026.
Dependencies resolved.
================================================================================
 Package         Architecture    Version                Repository         Size
================================================================================
`
	for _, tc := range []struct {
		name, text string
		want       []rpm.Step
	}{
		{"several_kinds", head + `Removing:
 kernel          x86_64          5.14.0-2.el9           @oaktest           13  
Downgrading:
 alpha           x86_64          1.0-1.el9              oaktest           6.1 k
Installing dependencies:
 dep             noarch          2:1.5-3.el9            oaktest           6.1 k
     replacing  olddep.noarch 1.0-1

Transaction Summary
`, []rpm.Step{
			{Action: "remove", Name: "kernel", Arch: "x86_64", EVR: "5.14.0-2.el9"},
			{Action: "upgrade", Name: "alpha", Arch: "x86_64", EVR: "1.0-1.el9"},
			{Action: "install", Name: "dep", Arch: "noarch", EVR: "2:1.5-3.el9", Replaces: []string{"olddep.noarch 1.0-1"}},
		}},
		{"a_name_too_long", head + `Upgrading:
 a-package-with-a-name-that-is-much-longer-than-a-terminal-is-wide-and-more
                 x86_64          1.0-2                  oaktest           6.1 k
 b               x86_64          1.0-2                  oaktest           6.1 k

Transaction Summary
`, []rpm.Step{
			{Action: "upgrade", Name: "a-package-with-a-name-that-is-much-longer-than-a-terminal-is-wide-and-more", Arch: "x86_64", EVR: "1.0-2"}, {Action: "upgrade", Name: "b", Arch: "x86_64", EVR: "1.0-2"},
		}},
		{"nothing", "Last metadata\nDependencies resolved.\nNothing to do.\nComplete!\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, found := readTable([]byte(tc.text))
			if diff := cmp.Diff(tc.want, got); diff != "" || !found {
				t.Errorf("found %v, (-want +got):\n%s", found, diff)
			}
		})
	}
}
