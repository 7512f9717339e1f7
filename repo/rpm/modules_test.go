package rpm_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/repo/rpm"
)

const modulesYAML = `%YAML 1.2
---
document: modulemd
version: 2
data:
  name: nodejs
  stream: "18"
  version: 8090020240101
  context: abc
  arch: x86_64
  summary: >-
    a: b
  description: "over
    lines"
  license:
    module:
    - MIT
  xmd: {a: [b]}
  profiles:
    common:
      rpms: [nodejs]
  dependencies:
  - buildrequires:
      platform: [el9]
    requires:
      platform: [el9]
      perl: ["5.30", "5.32"]
      python: []
  components:
    rpms:
      x: {rationale: y}
  artifacts:
    rpms:
    - nodejs-1:18.1.0-1.module+el9.x86_64
    - npm-1:8.1.0-1.module+el9.noarch
...
---
document: modulemd-stream
version: 3
data: {name: ruby, stream: 3.10, version: 1, context: "00", arch: noarch, dependencies: {platform: el9, requires: {openssl: [1]}}, artifacts: {rpms: []}}
--- {document: modulemd, version: 1, data: {name: old, stream: f28, dependencies: {requires: {platform: f28, base: f28}}}}
---
document: modulemd
data:
  name: shared
  license: &l {rpms: [x]}
  artifacts: *l
---
document: modulemd-packager
version: 3
data:
  stream: x
---
document: modulemd-defaults
version: 1
data:
  module: nodejs
  stream: "10"
  modified: 202001010000
  profiles:
    10: [common]
---
document: modulemd-defaults
version: 1
data: {module: nodejs, stream: "18", modified: 202101010000}
---
document: modulemd-defaults
version: 1
data: {module: ruby}
---
document: modulemd-defaults
version: 1
data: {module: torn, stream: a}
---
document: modulemd-defaults
version: 1
data: {module: torn, stream: b}
---
document: modulemd-obsoletes
version: 1
data: {module: nodejs}
`

func TestReadModules(t *testing.T) {
	t.Parallel()
	modules, defaults, err := rpm.ReadModules(strings.NewReader(modulesYAML))
	if err != nil {
		t.Fatal(err)
	}
	want := []rpm.Module{
		{
			Name: "nodejs", Stream: "18", Version: "8090020240101", Context: "abc", Arch: "x86_64",
			Artifacts: []string{"nodejs-1:18.1.0-1.module+el9.x86_64", "npm-1:8.1.0-1.module+el9.noarch"}, Requires: []string{"perl:5.30", "perl:5.32", "python"},
		},
		{Name: "ruby", Stream: "3.10", Version: "1", Context: "00", Arch: "noarch", Artifacts: []string{}, Requires: []string{"openssl:1"}},
		{Name: "old", Stream: "f28", Requires: []string{"base:f28"}},
		{Name: "shared", Artifacts: []string{"x"}},
	}
	if diff := cmp.Diff(want, modules); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"nodejs": "18"}, defaults); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	for _, bad := range []string{
		"document: modulemd\ndata: [", "document: modulemd\ndata:\n  name: a\n  profiles:\n    x: &a [1]\n  artifacts: *a\n",
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n" +
			"e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ndocument: modulemd\ndata: {name: a, artifacts: {rpms: *f}}\n",
	} {
		if _, _, err := rpm.ReadModules(strings.NewReader(bad)); err == nil {
			t.Errorf("ReadModules(%.40q) is no error", bad)
		}
	}
	if _, _, err := rpm.ReadModules(&endless{text: "a: b\n"}); err == nil {
		t.Error("an endless document is no error")
	}
}

func TestReadModuleState(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{
		"etc/dnf/modules.d/nodejs.module": {Data: []byte("[nodejs]\nname=nodejs\nstream=18\nprofiles=common, minimal\nstate=enabled\n")},
		"etc/dnf/modules.d/perl.module":   {Data: []byte("[perl]\nstate=disabled\nprofiles=\n")},
		"etc/dnf/modules.d/README":        {Data: []byte("not INI")},
	}
	got, err := rpm.ReadModuleState(root, "etc/dnf/modules.d")
	want := map[string]rpm.ModuleState{"nodejs": {Stream: "18", State: "enabled", Profiles: []string{"common", "minimal"}}, "perl": {State: "disabled", Profiles: []string{}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("ReadModuleState, %v (-want +got):\n%s", err, diff)
	}
	if got, err := rpm.ReadModuleState(root, "nowhere"); len(got) > 0 || err != nil {
		t.Errorf("ReadModuleState of nothing = %v, %v", got, err)
	}
}

func FuzzReadModules(f *testing.F) {
	f.Add([]byte(modulesYAML))
	f.Fuzz(func(t *testing.T, b []byte) {
		modules, defaults, err := rpm.ReadModules(bytes.NewReader(b))
		for _, m := range modules {
			if m.Name == "" {
				t.Error("a module without a name")
			}
		}
		if err != nil && (modules != nil || defaults != nil) {
			t.Error("an error with modules")
		}
	})
}
