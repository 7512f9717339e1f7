package rpm_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/repo/rpm"
)

const confText = `# a comment
[main]
gpgcheck=1
installonly_limit = 3
empty=
exclude=kernel*
  nginx, curl
# in between
	vim
best=False

; another
[repo-1]
name=Repo = one
enabled=Off
baseurl=http://a/$releasever/

   http://b/
[main]
best=on
weird=maybe
`

func TestReadConf(t *testing.T) {
	t.Parallel()
	c, err := rpm.ReadConf(strings.NewReader("\ufeff"+strings.ReplaceAll(confText, "\n", "\r\n")), rpm.Yum)
	if err != nil {
		t.Fatal(err)
	}
	want := rpm.Conf{Sections: []rpm.Section{
		{Name: "main", Keys: []rpm.Setting{{"gpgcheck", "1"}, {"installonly_limit", "3"}, {"empty", ""}, {"exclude", "kernel*\nnginx, curl\nvim"}, {"best", "on"}, {"weird", "maybe"}}},
		{Name: "repo-1", Keys: []rpm.Setting{{"name", "Repo = one"}, {"enabled", "Off"}, {"baseurl", "http://a/$releasever/\nhttp://b/"}}},
	}}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Fatalf("ReadConf (-want +got):\n%s", diff)
	}
	if !c.Bool("main", "best", false) || c.Bool("repo-1", "enabled", true) || !c.Bool("main", "weird", true) || c.Bool("main", "weird", false) || !c.Bool("absent", "x", true) {
		t.Error("Bool")
	}
	if c.Get("main", "empty", "x") != "" || c.Get("main", "absent", "x") != "x" || !c.Section("main").Has("empty") || c.Section("absent").Has("empty") {
		t.Error("Get or Has")
	}
	if diff := cmp.Diff([]string{"kernel*", "nginx", "curl", "vim"}, c.Section("main").List("exclude")); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	for in, want := range map[string]string{
		"a=b\n": "line 1: a stands before the first section", "[m]\nword\n": "line 2: \"word\" is not KEY = VALUE", "[m]\n  x\n": "line 2: \"x\" goes on with nothing",
		"[]\n": "without a name", "[m\n": "without a name", "[m]\n=b\n": "is not KEY = VALUE", "[m]\na=" + strings.Repeat("x", 2<<20): "larger than allowed",
	} {
		if _, err := rpm.ReadConf(strings.NewReader(in), rpm.DNF); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ReadConf(%.20q) = %v, want %q", in, err, want)
		}
	}
}

// Lines that start with a blank are what dnf, yum and zypper read in three ways.
func TestDialects(t *testing.T) {
	t.Parallel()
	const refused = "(refused)"
	for _, tc := range []struct{ name, text, dnf, yum, zypp string }{
		{"more_of_a_value", "[r]\nlist=a\n  b\n", "list=a\nb;", "list=a\nb;", "list=a\nb;"},
		{"a_comment_further_in", "[r]\nlist=a\n  # b\n  c\n", "list=a\n# b\nc;", "list=a\n# b\nc;", "list=a\nc;"},
		{"a_comment_between", "[r]\nlist=a\n# b\n  c\n", refused, "list=a\nc;", "list=a\nc;"},
		{"an_empty_line_between", "[r]\nlist=a\n\n  c\n", refused, "list=a\nc;", "list=a\nc;"},
		{"a_blank_line_between", "[r]\nlist=a\n  \n  c\n", "list=a\nc;", "list=a\nc;", "list=a\nc;"},
		{"keys_further_in", "[r]\n  list=a\n  other=b\n", refused, refused, "list=a;other=b;"},
		{"a_key_behind_a_key", "[r]\nlist=a\n  other=b\n", "list=a\nother=b;", "list=a\nother=b;", "list=a;other=b;"},
		{"an_address_with_a_sign", "[r]\nbaseurl=http://a/\n  http://b/?c=d\n", "baseurl=http://a/\nhttp://b/?c=d;", "baseurl=http://a/\nhttp://b/?c=d;", "baseurl=http://a/\nhttp://b/?c=d;"},
	} {
		for d, want := range map[rpm.Dialect]string{rpm.DNF: tc.dnf, rpm.Yum: tc.yum, rpm.Zypp: tc.zypp} {
			c, err := rpm.ReadConf(strings.NewReader(tc.text), d)
			got := ""
			if s := c.Section("r"); s != nil {
				for _, k := range s.Keys {
					got += k.Key + "=" + k.Value + ";"
				}
			}
			if err != nil {
				got = refused
			}
			if got != want {
				t.Errorf("%s, dialect %d: %q, want %q (%v)", tc.name, d, got, want, err)
			}
		}
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"releasever": "9", "basearch": "x86_64", "empty": ""}
	for in, want := range map[string]string{
		"http://h/$releasever/$basearch/os": "http://h/9/x86_64/os", "${releasever}.4": "9.4", "$releasever$basearch": "9x86_64", "$unknown/${unknown}": "$unknown/${unknown}",
		"$": "$", "a$/": "a$/", "${": "${", "${releasever": "${releasever", "${}": "${}", "$empty.": ".", "$releaseverx": "$releaseverx", "${releasever!}": "${releasever!}",
		"${unknown:-8}": "8", "${empty:-8}": "8", "${releasever:-8}": "9", "${releasever:+el}": "el", "${unknown:+el}x": "x",
	} {
		if got := rpm.Expand(in, vars); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestReadVars(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{"etc/dnf/vars/releasever": {Data: []byte("9\nmore")}, "etc/dnf/vars/empty": {}, "etc/dnf/vars/folder/x": {}}
	vars, err := rpm.ReadVars(root, "etc/dnf/vars")
	if diff := cmp.Diff(map[string]string{"releasever": "9", "empty": ""}, vars); diff != "" || err != nil {
		t.Errorf("ReadVars, %v (-want +got):\n%s", err, diff)
	}
	if vars, err := rpm.ReadVars(root, "etc/yum/vars"); len(vars) != 0 || err != nil {
		t.Errorf("ReadVars of nothing = %v, %v", vars, err)
	}
}

func TestCompatible(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		machine, arch string
		want          bool
	}{
		{"x86_64", "x86_64", true},
		{"x86_64", "i686", true},
		{"x86_64", "noarch", true},
		{"x86_64", "aarch64", false},
		{"x86_64", "src", false},
		{"x86_64", "x86_64_v3", false},
		{"i686", "x86_64", false},
		{"i686", "i586", true},
		{"aarch64", "noarch", true},
		{"aarch64", "armv7hl", false},
		{"arm64", "aarch64", true},
		{"amd64", "x86_64", true},
		{"loongarch64", "loongarch64", true},
		{"loongarch64", "noarch", true},
		{"loongarch64", "x86_64", false},
		{"x86_64_v3", "x86_64", true},
		{"armv7l", "armv7hl", true},
	} {
		if got := rpm.Compatible(tc.machine, tc.arch); got != tc.want {
			t.Errorf("Compatible(%s, %s) = %v", tc.machine, tc.arch, got)
		}
	}
	if diff := cmp.Diff([]string{"x86_64", "i686", "i586", "i486", "i386", "noarch"}, rpm.Arches("x86_64")); diff != "" {
		t.Errorf("Arches (-want +got):\n%s", diff)
	}
}

// FuzzReadConf must read back what it printed.
func FuzzReadConf(f *testing.F) {
	f.Add([]byte(confText))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := rpm.ReadConf(bytes.NewReader(b), rpm.DNF)
		if err != nil {
			return
		}
		var out strings.Builder
		for _, s := range c.Sections {
			out.WriteString("[" + s.Name + "]\n")
			for _, k := range s.Keys {
				out.WriteString(k.Key + "=" + strings.ReplaceAll(k.Value, "\n", "\n ") + "\n")
			}
		}
		again, err := rpm.ReadConf(strings.NewReader(out.String()), rpm.DNF)
		if diff := cmp.Diff(c, again); diff != "" || err != nil {
			t.Errorf("%v (-first +again):\n%s", err, diff)
		}
		rpm.Expand(string(b), map[string]string{"a": "b"})
	})
}
