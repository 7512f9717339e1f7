package dnf

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	md "oakum.dev/repo/rpm"
)

const rhel = "NAME=\"Red Hat Enterprise Linux\"\nVERSION_ID=\"9.4\"\nID=\"rhel\"\n"

func configured(t *testing.T, files map[string]string) *config {
	t.Helper()
	all := map[string]string{"usr/bin/dnf": "", "etc/os-release": rhel, "etc/dnf/vars/releasever": "9\n"}
	for name, text := range files {
		all[name] = text
	}
	m := manager(all)
	if _, err := m.Platform(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := m.readConfig(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The repositories that dnf 4.14 takes of the same files: which of them, from where, and at which priority.
func TestRepositoriesAreThoseOfDNF(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		files     map[string]string
		want      string
		mentioned string // in what the result rests on less than it should for
	}{
		{"of_two_files_with_an_id_the_shorter_name_is_first", map[string]string{
			"etc/yum.repos.d/a-old.repo": "[r]\nname=r\nbaseurl=http://old/\nenabled=0\n", "etc/yum.repos.d/a.repo": "[r]\nname=r\nbaseurl=http://new/\n",
		}, "r http://new/ 99", ""},
		{"hidden_files_are_none", map[string]string{"etc/yum.repos.d/.#a.repo": "[h]\nname=h\nbaseurl=http://h/\n", "etc/yum.repos.d/.repo": "[i]\nname=i\nbaseurl=http://i/\n"}, "", ""},
		{"a_file_that_is_none_is_left_out", map[string]string{
			"etc/yum.repos.d/a.repo": "[a]\nname=a\nbaseurl=http://a/\n", "etc/yum.repos.d/b.repo": "[b]\nname=b\nbaseurl=http://b/\nword\n",
		}, "a http://a/ 99", "/etc/yum.repos.d/b.repo: line 4"},
		{"a_list_with_a_comment_in_it_is_none", map[string]string{
			"etc/yum.repos.d/a.repo": "[a]\nname=a\nbaseurl=http://a/\nexcludepkgs=x\n# y\n  z\n",
		}, "", "/etc/yum.repos.d/a.repo: line 6"},
		{"an_id_with_a_blank_is_left_out", map[string]string{"etc/yum.repos.d/a.repo": "[my repo]\nname=a\nbaseurl=http://a/\n[b]\nname=b\nbaseurl=http://b/\n"}, "b http://b/ 99", "my repo"},
		{"values_in_quotes", map[string]string{"etc/yum.repos.d/a.repo": "[a]\nname=a\nbaseurl=\"http://a/\"\npriority='5'\n[b]\nname=b\nbaseurl=http://b/\nenabled=\"0\"\n"}, "a http://a/ 5", ""},
		{"a_path_for_an_address", map[string]string{"etc/yum.repos.d/a.repo": "[a]\nname=a\nbaseurl=/srv/a\n"}, "a file:///srv/a 99", ""},
		{"main_has_no_priority", map[string]string{"etc/dnf/dnf.conf": "[main]\npriority=5\n", "etc/yum.repos.d/a.repo": "[a]\nname=a\nbaseurl=http://a/\n"}, "a http://a/ 99", ""},
		{"variables_of_another_folder", map[string]string{
			"etc/dnf/dnf.conf": "[main]\nvarsdir=/etc/own\n", "etc/own/site": "here\n", "etc/own/releasever": "9\n", "etc/dnf/vars/site": "there\n", "etc/yum.repos.d/a.repo": "[a]\nname=a\nbaseurl=http://$site/\n",
		}, "a http://here/ 99", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := configured(t, tc.files)
			var got []string
			for _, r := range c.repos {
				got = append(got, fmt.Sprint(r.ID, " ", r.URI, " ", r.Priority))
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, "; ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if text := strings.Join(c.degraded, "; "); !strings.Contains(text, tc.mentioned) || tc.mentioned == "" && text != "" {
				t.Errorf("degraded: %q, want %q", text, tc.mentioned)
			}
		})
	}
}

// An entry of excludepkgs is a name before it is a name and a version, as dnf 4.14 reads it.
func TestExcludesAreThoseOfDNF(t *testing.T) {
	t.Parallel()
	offered := []*md.Package{
		{Name: "php", Version: "1.1", Release: "1.el9", Arch: "x86_64"},
		{Name: "php-fpm", Version: "1.1", Release: "1.el9", Arch: "x86_64"},
		{Name: "solo", Version: "1.1", Release: "1.el9", Arch: "noarch"},
		{Name: "epo", Epoch: "1", Version: "1.0", Release: "1.el9", Arch: "x86_64"},
		{Name: "py3-a-b", Version: "2", Release: "1", Arch: "x86_64"},
		{Name: "py3", Version: "a", Release: "3", Arch: "x86_64"},
	}
	for _, tc := range []struct{ main, repo, want string }{
		{"excludepkgs=php-*", "", "php-fpm"},
		{"excludepkgs=solo-*", "", "solo"},
		{"excludepkgs=php-1*", "", "php"},
		{"excludepkgs=solo*el9*", "", "solo"},
		{"excludepkgs=*.noarch", "", "solo"},
		{"excludepkgs=ep*-1:*", "", "epo"},
		{"excludepkgs=epo-0:1.0-1.el9.x86_64", "", ""},
		{"excludepkgs=epo-1.0-1.el9", "", "epo"},
		{"excludepkgs=epo-1:1.0-1.el9.x86_64 solo-0:1.1", "", "solo epo"},
		{"excludepkgs=py3-a-*", "", "py3-a-b"},
		{"excludepkgs=\"php solo\"", "", "php solo"},
		{"exclude=php", "excludepkgs=solo", "php solo"},
		{"excludepkgs=php\ndisable_excludes=main", "excludepkgs=solo", "solo"},
		{"excludepkgs=php\n  # solo\n  epo", "", "php solo epo"},
		{"includepkgs=php solo", "", "php-fpm epo py3-a-b py3"},
		{"includepkgs=solo", "includepkgs=php", "php-fpm epo py3-a-b py3"},
		{"", "includepkgs=php*", "solo epo py3-a-b py3"},
	} {
		c := configured(t, map[string]string{"etc/dnf/dnf.conf": "[main]\n" + tc.main + "\n", "etc/yum.repos.d/a.repo": "[a]\nname=a\nbaseurl=http://a/\n" + tc.repo + "\n"})
		c.known = func(match func(name, arch string) bool) bool {
			for _, p := range offered {
				if match(p.Name, p.Arch) {
					return true
				}
			}
			return false
		}
		var got []string
		for _, p := range offered {
			if c.excludes(c.repos[0], p) != "" {
				got = append(got, p.Name)
			}
		}
		if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%q and %q (-want +got):\n%s", tc.main, tc.repo, diff)
		}
	}
}

// Without plugins dnf does not look at versionlock's list.
func TestLocksWithoutPlugins(t *testing.T) {
	t.Parallel()
	for conf, want := range map[string]int{"[main]\n": 1, "[main]\nplugins=1\n": 1, "[main]\nplugins=0\n": 0} {
		c := configured(t, map[string]string{
			"etc/dnf/dnf.conf": conf, "usr/lib/python3.9/site-packages/dnf-plugins/versionlock.py": "", "etc/dnf/plugins/versionlock.list": "bash-0:5-1.*\n",
		})
		if len(c.locks) != want {
			t.Errorf("%q: %d locks, want %d", conf, len(c.locks), want)
		}
	}
}

// With obsoletes=0 dnf puts no package of another name in an installed one's place.
func TestObsoletesSwitchedOff(t *testing.T) {
	t.Parallel()
	for conf, keeps := range map[string]bool{"[main]\n": false, "[main]\nobsoletes=0\n": true, "[main]\nobsoletes=True\n": false} {
		m := manager(map[string]string{"usr/bin/dnf": "", "etc/os-release": rhel, "etc/dnf/vars/releasever": "9\n", "etc/dnf/dnf.conf": conf})
		if _, err := m.Platform(t.Context()); err != nil {
			t.Fatal(err)
		}
		v, err := m.readView(t.Context(), nil)
		if err != nil || v.KeepsNames != keeps {
			t.Errorf("%q: %v, %v, want %v", conf, v.KeepsNames, err, keeps)
		}
	}
}
