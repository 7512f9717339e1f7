//go:build linux

package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dnfUpdates are the updates that dnf lists, name and version, as "dnf check-update" has them.
func (n *debNode) dnfUpdates() map[string]string {
	n.t.Helper()
	out, _ := n.run("dnf", "-q", "--refresh", "check-update") // its exit code says whether there are any
	list := map[string]string{}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "Obsoleting Packages") {
			break
		}
		if w := strings.Fields(line); len(w) == 3 {
			list[w[0]] = w[1]
		}
	}
	return list
}

// free are the updates that a scan calls missing without a reason, and what it says the others are kept away for.
func (s nodeScan) free() (list, kept map[string]string) {
	list, kept = map[string]string{}, map[string]string{}
	for _, it := range s.Items {
		switch {
		case it.AvailableVersion == "":
		case it.State == "Missing" && it.Reason == "":
			list[it.ID] = bare(it.AvailableVersion)
		default:
			kept[it.Name] = it.Reason
		}
	}
	return list, kept
}

// TestConfigurationsOnDNF reads configurations that real fleets have, and finds the updates that dnf finds by them.
func TestConfigurationsOnDNF(t *testing.T) {
	t.Parallel()
	const names = "php php-fpm solo lib epo"
	var lines, install strings.Builder
	for name := range strings.FieldsSeq(names) {
		lines.WriteString("package " + name + " 1.0-1.el9 x86_64\npackage " + name + " " + map[bool]string{true: "1:"}[name == "epo"] + "1.1-1.el9 x86_64\n")
		install.WriteString(name + "-1.0 ")
	}
	r := newRPMRepo(t, lines.String())
	other := newRPMRepo(t, "package php 1.2-1.el9 x86_64\npackage solo 1.2-1.el9 x86_64\n")
	n := r.node(t, "config", "rhel9", install.String())
	writeFile(t, filepath.Join(n.root, "root/everything.json"), everythingRPM)
	n.mustRun("mkdir", "-p", "/etc/own", "/srv/local")
	n.mustRun("sh", "-c", "echo 9 >/etc/own/releasever; echo "+strings.TrimPrefix(r.url, "http://")+" >/etc/own/place; ln -s /nowhere /etc/dnf/vars/lost")
	const start = "[main]\ngpgcheck=0\nbest=True\n"
	repo := "[oaktest]\nname=oaktest\nbaseurl=" + r.url + "\n"
	two := "[two]\nname=two\nbaseurl=" + other.url + "\n"
	for _, tc := range []struct {
		name, main, repo string
		kept             string // name and reason
	}{
		{"as_it_is", "", repo, ""},
		{"a_name_before_a_version", "excludepkgs=php-*\n", repo, "php-fpm excluded"},
		{"a_version_where_no_name_is", "excludepkgs=solo-*, ep*-1:*\n", repo, "epo excluded,solo excluded"},
		{"includes_of_both", "includepkgs=solo\n", repo + "includepkgs=php\n", "epo excluded,lib excluded,php-fpm excluded"},
		{"a_comment_within_a_list", "excludepkgs=lib\n  # solo\n  epo\n", repo, "epo excluded,lib excluded,solo excluded"},
		{"quotes", "excludepkgs=\"lib solo\"\n", strings.Replace(repo, "baseurl="+r.url, "baseurl=\""+r.url+"\"", 1) + "enabled='1'\n" + two + "enabled=\"0\"\n", "lib excluded,solo excluded"},
		{"a_priority_in_main", "priority=10\n", repo + two + "priority=50\n", ""},
		{"variables_of_another_folder", "varsdir=/etc/own\n", strings.Replace(repo, r.url, "http://$place", 1), ""},
		{"a_file_that_is_none", "", repo, ""},
		{"another_file_of_the_same_id", "", repo, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := &debNode{t: t, name: n.name, root: n.root}
			n.mustRun("sh", "-c", "rm -f /etc/yum.repos.d/*")
			writeFile(t, filepath.Join(n.root, "etc/dnf/dnf.conf"), start+tc.main)
			writeFile(t, filepath.Join(n.root, "etc/yum.repos.d/a.repo"), tc.repo)
			mentioned := ""
			switch tc.name {
			case "a_file_that_is_none":
				writeFile(t, filepath.Join(n.root, "etc/yum.repos.d/b.repo"), two+"word\n")
				mentioned = "/etc/yum.repos.d/b.repo: line 4"
			case "another_file_of_the_same_id":
				writeFile(t, filepath.Join(n.root, "etc/yum.repos.d/a-old.repo"), repo+"enabled=0\n")
				writeFile(t, filepath.Join(n.root, "etc/yum.repos.d/.b.repo"), two)
			}
			want := n.dnfUpdates()
			s, _ := n.scan("--baseline", "/root/everything.json")
			have, kept := s.free()
			if diff := cmp.Diff(want, have); diff != "" || len(want) == 0 {
				t.Errorf("updates (-dnf +oakum):\n%s", diff)
			}
			wantKept := map[string]string{}
			for pair := range strings.SplitSeq(tc.kept, ",") {
				if name, reason, ok := strings.Cut(pair, " "); ok {
					wantKept[name] = reason
				}
			}
			if diff := cmp.Diff(wantKept, kept); diff != "" {
				t.Errorf("kept away (-want +got):\n%s", diff)
			}
			if d := n.details("--no-refresh").Degraded; !strings.Contains(strings.Join(d, "\n"), mentioned) || mentioned == "" && len(d) > 0 {
				t.Errorf("degraded: %q, want %q", d, mentioned)
			}
		})
	}
	// A repository whose index says that its files are fetched from elsewhere.
	index := filepath.Join(r.dir, "repo/repodata/repomd.xml")
	text, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, index, strings.ReplaceAll(string(text), "<location href=", `<location xml:base="`+r.url+`/" href=`))
	writeFile(t, filepath.Join(n.root, "etc/dnf/dnf.conf"), start)
	writeFile(t, filepath.Join(n.root, "etc/yum.repos.d/a.repo"), repo)
	n.mustRun("sh", "-c", "rm -rf /var/cache/dnf/* /etc/yum.repos.d/a-old.repo")
	want := n.dnfUpdates()
	s, _ := n.scan("--baseline", "/root/everything.json")
	if have, _ := s.free(); !cmp.Equal(want, have) || len(want) == 0 {
		t.Errorf("an index with another address: dnf lists %v, the scan %v", want, have)
	}
}

const oddModules = `---
document: modulemd-defaults
version: 1
data:
  module: lang
  stream: "5.26"
---
document: modulemd-defaults
version: 1
data:
  module: addon
  stream: "2"
---
document: modulemd
version: 2
data:
  name: lang
  stream: "5.26"
  version: 1
  context: c1
  arch: x86_64
  summary: s
  description: d
  license: {module: [MIT]}
  artifacts:
    rpms:
    - oaklang-0:5.26-1.module.x86_64
    - oaklang-libs-0:5.26-1.module.x86_64
---
document: modulemd
version: 2
data:
  name: lang
  stream: "5.30"
  version: 1
  context: c1
  arch: x86_64
  summary: s
  description: d
  license: {module: [MIT]}
  artifacts:
    rpms:
    - oaklang-0:5.30-1.module.x86_64
---
document: modulemd
version: 2
data:
  name: addon
  stream: "2"
  version: 1
  context: aa
  arch: x86_64
  summary: s
  description: d
  license: {module: [MIT]}
  dependencies:
  - requires:
      lang: ["5.26"]
  artifacts:
    rpms:
    - oakaddon-0:2-1.for26.x86_64
---
document: modulemd
version: 2
data:
  name: addon
  stream: "2"
  version: 1
  context: bb
  arch: x86_64
  summary: s
  description: d
  license: {module: [MIT]}
  dependencies:
  - requires:
      lang: ["5.30"]
  artifacts:
    rpms:
    - oakaddon-0:2-1.for30.x86_64
---
document: modulemd
version: 2
data:
  name: top
  stream: "1"
  version: 1
  context: c1
  arch: x86_64
  summary: s
  description: d
  license: {module: [MIT]}
  dependencies:
  - requires:
      dep: ["1"]
  artifacts:
    rpms:
    - oaktop-0:2-1.module.x86_64
---
document: modulemd
version: 2
data:
  name: dep
  stream: "1"
  version: 1
  context: c1
  arch: x86_64
  summary: s
  description: d
  license: {module: [MIT]}
  artifacts:
    rpms:
    - oakdep-0:2-1.module.x86_64
`

// TestModuleStreamsOnDNF finds the same streams active as dnf does: builds of a stream for different streams of another one,
// streams that bring others along, and streams that cannot have what they need. Trap Y7.
func TestModuleStreamsOnDNF(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, `package oaklang 1-1 x86_64
package oaklang 5.26-1.module x86_64
package oaklang 5.30-1.module x86_64
package oakaddon 1-1 x86_64
package oakaddon 2-1.for26 x86_64
package oakaddon 2-1.for30 x86_64
package oaktop 1-1 x86_64
package oaktop 2-1.module x86_64
package oakdep 1-1 x86_64
package oakdep 2-1.module x86_64
package oakcompat 1-1 x86_64
package oakcompat 2-1 x86_64 provides="oaklang-libs"
`)
	n := r.node(t, "streams", "rhel9", "oaklang-1-1 oakaddon-1-1 oaktop-1-1 oakdep-1-1 oakcompat-1-1")
	modules := filepath.Join(t.TempDir(), "modules.yaml")
	writeFile(t, modules, oddModules)
	if out, err := exec.Command("modifyrepo_c", "--mdtype=modules", modules, filepath.Join(r.dir, "repo/repodata")).CombinedOutput(); err != nil {
		t.Fatalf("add modules: %v: %s", err, out)
	}
	n.mustRun("sh", "-c", `echo 'PLATFORM_ID="platform:el9"' >>/etc/os-release; mkdir -p /etc/dnf/modules.d`)
	writeFile(t, filepath.Join(n.root, "root/everything.json"), everythingRPM)
	for _, tc := range []struct{ name, states, more string }{
		{"defaults", "", ""},
		{"another_stream", "lang=5.30", ""},
		{"disabled", "lang=", ""},
		{"brought_along", "top=1", ""},
		{"what_it_needs_is_disabled", "top=1 dep=", ""},
		{"a_repository_for_hotfixes", "", "module_hotfixes=1\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := &debNode{t: t, name: n.name, root: n.root}
			n.mustRun("sh", "-c", "rm -f /etc/dnf/modules.d/*")
			for state := range strings.FieldsSeq(tc.states) {
				name, stream, _ := strings.Cut(state, "=")
				text := map[bool]string{true: "disabled", false: "enabled"}[stream == ""]
				writeFile(t, filepath.Join(n.root, "etc/dnf/modules.d", name+".module"), "["+name+"]\nname="+name+"\nstream="+stream+"\nprofiles=\nstate="+text+"\n")
			}
			writeFile(t, filepath.Join(n.root, "etc/yum.repos.d/oaktest.repo"), "[oaktest]\nname=oaktest\nbaseurl="+r.url+"\ngpgcheck=0\n"+tc.more)
			want := n.dnfUpdates()
			s, _ := n.scan("--baseline", "/root/everything.json")
			have, kept := s.free()
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("updates (-dnf +oakum):\n%s", diff)
			}
			for name, reason := range kept {
				if reason != "module" {
					t.Errorf("%s is kept away for %q", name, reason)
				}
			}
		})
	}
}
