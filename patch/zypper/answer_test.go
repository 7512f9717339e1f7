package zypper

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/patch"
	"oakum.dev/patch/rpm"
)

const head = `<?xml version='1.0'?>
<stream>
<message type="info">Loading repository data...</message>
`

// Answers as zypper 1.14 gives them with --xmlout.
func TestReadAnswer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		steps      []rpm.Step
		vendors    []string
		summary    bool
		refusal    string
		reason     string
	}{
		{
			name: "changes_of_every_kind", text: head + `<install-summary download-size="51507" space-usage-diff="6" packages-to-change="5">
<to-upgrade>
<solvable type="package" name="beta" edition="1:1.1-1" arch="x86_64" edition-old="1.0-1" arch-old="x86_64" summary="test package beta">
<description>Made for a test.</description></solvable>
<solvable type="package" name="zeta" edition="2.0-1" arch="x86_64" edition-old="1.0-1" arch-old="noarch" summary="x"/>
</to-upgrade>
<to-downgrade><solvable type="package" name="alpha" edition="1.0-1" arch="x86_64" edition-old="1.1-1" arch-old="x86_64" summary="x"/></to-downgrade>
<to-install><solvable type="package" name="dep" edition="1.0-1" arch="noarch" summary="x"/><solvable type="patch" name="SUSE-1" edition="1" arch="noarch" summary="x"/></to-install>
<to-remove><solvable type="package" name="old" edition="1.0-1" arch="x86_64" summary="x"/></to-remove>
<to-change-arch><solvable type="package" name="zeta" edition="2.0-1" arch="x86_64" edition-old="1.0-1" arch-old="noarch" summary="x"/></to-change-arch>
<to-change-vendor><solvable type="package" name="beta" edition="1:1.1-1" arch="x86_64" edition-old="1.0-1" arch-old="x86_64" summary="x"/></to-change-vendor>
</install-summary>
<prompt id="0">
<text>Continue?</text>
<option default="1" value="y" desc="Yes"/>
</prompt>
</stream>`,
			steps: []rpm.Step{
				{Action: "upgrade", Name: "beta", Arch: "x86_64", EVR: "1:1.1-1"},
				{Action: "upgrade", Name: "zeta", Arch: "noarch", EVR: "2.0-1"},
				{Action: "upgrade", Name: "alpha", Arch: "x86_64", EVR: "1.0-1"},
				{Action: "install", Name: "dep", Arch: "noarch", EVR: "1.0-1"},
				{Action: "remove", Name: "old", Arch: "x86_64", EVR: "1.0-1"},
			}, vendors: []string{"beta"}, summary: true,
		},
		{
			name: "nothing_provides", text: head + `<prompt id="1">
<description>Problem: nothing provides nowhere &gt;= 1 needed by delta-2.0-1.x86_64
 Solution 1: do not install delta-2.0-1.x86_64
 Solution 2: break delta-2.0-1.x86_64 by ignoring some of its dependencies
</description>
<text>Choose from above solutions by number or cancel</text>
</prompt>
</stream>`, refusal: "nothing provides nowhere >= 1 needed by delta-2.0-1.x86_64", reason: patch.ReasonUnmetDependency,
		},
		{
			name: "conflict", text: head + `<prompt id="1">
<description>Problem: conf1-2.0-1.x86_64 conflicts with alpha provided by alpha-1.2-1.x86_64
 Solution 1: Following actions will be done:
  do not install alpha-1.2-1.x86_64
  deinstallation of alpha-1.1-1.x86_64
</description></prompt></stream>`, refusal: "conf1-2.0-1.x86_64 conflicts with alpha provided by alpha-1.2-1.x86_64", reason: patch.ReasonConflict,
		},
		{
			name: "a_lock", text: head + `<prompt id="1">
<description>Problem: conflicting requests
 Solution 1: remove lock to allow removal of pinned-1.0-1.x86_64
 Solution 2: do not ask to delete all solvables providing pinned.x86_64 = 1.0-1
</description></prompt></stream>`, refusal: "conflicting requests; Solution 1: remove lock to allow removal of pinned-1.0-1.x86_64", reason: patch.ReasonHeld,
		},
		{
			name: "no_such_version", text: head + `<message type="info">&apos;alpha=7.7-7&apos; not found in package names. Trying capabilities.</message>
<message type="error">No provider of &apos;alpha=7.7-7&apos; found.</message>
</stream>`, refusal: "No provider of 'alpha=7.7-7' found.",
		},
		{name: "cut_off", text: head + `<install-summary><to-install><solvable type="package" name="dep" edition="1" arch="noarch"`, summary: true},
		{name: "none", text: ""},
		{name: "no_xml", text: "zypper: error while loading shared libraries"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := readAnswer([]byte(tc.text))
			text, reason := a.refusal()
			if diff := cmp.Diff(tc.steps, a.steps); diff != "" || !cmp.Equal(tc.vendors, a.vendors) || a.summary != tc.summary || text != tc.refusal || reason != tc.reason {
				t.Errorf("vendors %v, summary %v, refusal %q (%s), steps (-want +got):\n%s", a.vendors, a.summary, text, reason, diff)
			}
		})
	}
}

const refreshed = head + `<message type="error">Repository &apos;Bad repo&apos; is invalid.
[bad|http://127.0.0.1:9/x] Valid metadata not found at specified URL
History:
 - [|] Error trying to read from &apos;http://127.0.0.1:9/x&apos;
 - Download (curl) error for &apos;http://127.0.0.1:9/x/content&apos;:
Error code: Connection failed
Error message: Failed to connect to 127.0.0.1 port 9 after 0 ms: Couldn&apos;t connect to server


Please check if the URIs defined for this repository are pointing to a valid repository.
</message>
<message type="error">Skipping repository &apos;Bad repo&apos; because of the above error.</message>
<message type="error">Skipping repository &apos;It&apos;s named&apos; because of the above error.</message>
<message type="info">Repository &apos;oaktest&apos; is up to date.</message>
<message type="error">Some of the repositories have not been refreshed because of an error.</message>
</stream>`

func TestRefreshFaults(t *testing.T) {
	t.Parallel()
	failed, other := refreshFaults(readAnswer([]byte(refreshed)).errors, map[string]string{"It's named": "named"}, 4)
	want := map[string]string{"bad": "Failed to connect to 127.0.0.1 port 9 after 0 ms: Couldn't connect to server", "named": "zypper skips it"}
	if diff := cmp.Diff(want, failed); diff != "" || other != nil {
		t.Errorf("other %q, (-want +got):\n%s", other, diff)
	}
	if failed, other = refreshFaults([]string{"No  repositories\ndefined."}, nil, 6); len(failed) > 0 || len(other) != 1 || other[0] != "not refreshed: No repositories defined.; zypper refresh ended with 6" {
		t.Errorf("%v %q", failed, other)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]rpm.Order{
		"a.noarch=2-1": {Verb: "upgrade", Name: "a", Arch: "noarch", Version: "0:2-1"}, "my repo:a.x86_64=1:2-1": {Verb: "upgrade", Name: "a", Arch: "x86_64", Version: "1:2-1", Repo: "my repo"},
		"b.x86_64=2-1": {Verb: "upgrade", Name: "b", Arch: "x86_64", Version: "0:2-1", Repo: "odd=alias"}, "!a.x86_64=2-1": {Verb: "remove", Name: "a", Arch: "x86_64", Version: "0:2-1", Repo: "x"},
	} {
		if got := word(o); got != want {
			t.Errorf("word(%+v) = %q, want %q", o, got, want)
		}
	}
	const log = `
$ zypper --non-interactive install
(1/2) Installing: eps-2.0-1.x86_64 [........done]
Additional rpm output:
rpm: However assuming you know what you are doing...
warning: %post(eps-2.0-1.x86_64) scriptlet failed, exit status 1

(2/2) Installing: oak-more-1-1.x86_64 [...error]
Installation of oak-more-1-1.x86_64 failed:
Error: Subprocess failed. Error: RPM failed: file /x conflicts
Abort, retry, ignore? [a/r/i] (a): a
`
	want := map[string]string{"eps": "%post(eps-2.0-1.x86_64) scriptlet failed, exit status 1", "oak-more": "Installation of oak-more-1-1.x86_64 failed: file /x conflicts"}
	if diff := cmp.Diff(want, faults(log)); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if got := complaint(log, 8); got != "Installation of oak-more-1-1.x86_64 failed:; Subprocess failed. Error: RPM failed: file /x conflicts" {
		t.Errorf("complaint %q", got)
	}
	killed := "Installation of oak-1-1.x86_64 failed:\nError: Subprocess failed. Error: RPM failed: Command was killed by signal 9 (Killed).\n\nAbort, retry, ignore? [a/r/i] (a): a\n"
	if got := faults(killed); len(got) > 0 {
		t.Errorf("a killed rpm speaks against its package: %v", got)
	}
	if got := complaint("", 4); got != "zypper ended with 4" {
		t.Errorf("complaint %q", got)
	}
	m := &Manager{}
	for line, name := range map[string]string{
		"(1/2) Installing: eps-2.0-1.x86_64 [........done]": "eps", "(2/2) Installing: oak-more-1-1.x86_64 [...error]": "", "In cache eps-2.0-1.x86_64.rpm (1/2)": "",
	} {
		if got, ok := m.Finished(line); got != name || ok != (name != "") {
			t.Errorf("Finished(%q) = %q, %v", line, got, ok)
		}
	}
	for order, want := range map[rpm.Order]string{
		{Verb: "upgrade", Name: "a", Arch: "noarch", Version: "0:1-1"}:               "a.noarch=1-1",
		{Verb: "upgrade", Name: "a", Arch: "noarch", Version: "2:1-1"}:               "a.noarch=2:1-1",
		{Verb: "remove", Name: "a", Arch: "noarch", Version: "0:1-1"}:                "!a.noarch=1-1",
		{Verb: "downgrade", Name: "a", Arch: "noarch", Version: "0:1-1", File: "/f"}: "/f",
	} {
		if got := word(order); got != want {
			t.Errorf("word(%+v) = %q, want %q", order, got, want)
		}
	}
}
