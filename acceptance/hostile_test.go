//go:build linux

package acceptance

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// peakScan runs "oakum scan --no-refresh" in a node and returns its exit code, peak memory in MiB and what it said.
func (n *debNode) peakScan(args ...string) (code int, mib float64, said string) {
	n.t.Helper()
	script := `import os,subprocess,sys
p=subprocess.Popen(sys.argv[1:],stdout=subprocess.DEVNULL,stderr=open("/tmp/said","w"))
_,st,ru=os.wait4(p.pid,0)
print(os.waitstatus_to_exitcode(st),ru.ru_maxrss)`
	out := strings.Fields(n.mustRun(append([]string{"python3", "-c", script, "/usr/local/bin/oakum", "scan", "--no-refresh"}, args...)...))
	code, err := strconv.Atoi(out[0])
	if err != nil {
		n.t.Fatal(err)
	}
	kib, err := strconv.Atoi(out[1])
	if err != nil {
		n.t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(n.root, "tmp/said"))
	if err != nil {
		n.t.Fatal(err)
	}
	return code, float64(kib) / 1024, string(b)
}

// TestHostileMetadata gives a node metadata that is damaged or meant to do harm: a scan never takes more memory than its
// bound for it, never ends as compliant, and says what is wrong. Each file is put back afterwards.
func TestHostileMetadata(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, `package oakone 1-1 x86_64
package oakone 2-1 x86_64 obsoletes="oaktwo < 3"
package oaktwo 1-1 x86_64
package oaktwo 2-1 x86_64 obsoletes="oakone < 3"
advisory OAK-1 type=security severity=Critical issued=2026-01-10 packages=oakone-1-1.x86_64
`)
	n := r.node(t, "hostile", "rhel9", "oakone-1-1 oaktwo-1-1")
	writeFile(t, filepath.Join(n.root, "root/everything.json"), everythingRPM)
	// Obsoletes in a circle: dnf and the engine come to an end.
	if code, mib, said := n.peakScan("--baseline", "/root/everything.json"); code != 3 || mib > 64 {
		t.Errorf("obsoletes in a circle: exit %d, %.0f MiB, %s", code, mib, said)
	}
	if code, _, said := n.peakScan(); code != 0 { // nothing is missing of what the predefined baseline approves
		t.Fatalf("before: exit %d, %s", code, said)
	}
	find := func(pattern string) string {
		found, err := filepath.Glob(filepath.Join(n.root, "var/cache/dnf/oaktest-*/repodata", pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %v %v", pattern, found, err)
		}
		return found[0]
	}
	packed := func(parts ...io.Reader) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := io.Copy(w, io.MultiReader(parts...)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	zeros := func(mib int64) io.Reader { return io.LimitReader(endless('A'), mib<<20) }
	index, primary, notices := find("repomd.xml"), find("*primary.xml.gz"), find("*updateinfo.xml.gz")
	sizes := regexp.MustCompile(`<(open-)?size>\d+</(open-)?size>`)
	const head = `<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">`
	for _, tc := range []struct {
		name string
		file string
		make func(old []byte) []byte
		free bool // the index says nothing about sizes
	}{
		{"primary cut off", primary, func(b []byte) []byte { return b[:len(b)/2] }, true},
		{"primary empty", primary, func([]byte) []byte { return nil }, true},
		{"primary of another size", primary, func(b []byte) []byte { return append(b, 0) }, false},
		{"primary without an end", primary, func([]byte) []byte { return packed(strings.NewReader(head)) }, true},
		{"one endless record", primary, func([]byte) []byte {
			return packed(strings.NewReader(head+`<package type="rpm"><name>`), zeros(200))
		}, true},
		{"an endless attribute", notices, func([]byte) []byte { return packed(strings.NewReader(`<updates><update from="`), zeros(200)) }, true},
		{"a bomb of blanks", notices, func([]byte) []byte {
			return packed(strings.NewReader("<updates>"), io.LimitReader(endless(' '), 3<<30), strings.NewReader("</updates>"))
		}, true},
		{"entities that grow", primary, func([]byte) []byte {
			return packed(strings.NewReader(`<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>` + head + "</metadata>"))
		}, true},
		{"updateinfo cut off", notices, func(b []byte) []byte { return b[:len(b)/3] }, true},
		{"index cut off", index, func(b []byte) []byte { return b[:len(b)/2] }, true},
		{"an index that leads out", index, func(b []byte) []byte {
			return regexp.MustCompile(`href="repodata/[^"]*primary`).ReplaceAll(b, []byte(`href="../../../../../etc/primary`))
		}, true},
		{"an index without primary", index, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`type="primary"`), []byte(`type="other"`)) }, true},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			old, err := os.ReadFile(tc.file)
			if err != nil {
				t.Fatal(err)
			}
			md, err := os.ReadFile(index)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				writeFile(t, index, string(md))
				writeFile(t, tc.file, string(old))
			}()
			if tc.free {
				writeFile(t, index, string(sizes.ReplaceAll(md, nil)))
			}
			if tc.file == index {
				old = md
			}
			writeFile(t, tc.file, string(tc.make(bytes.Clone(old))))
			code, mib, said := n.peakScan()
			if code != 1 || !strings.Contains(said, "oaktest") || !strings.Contains(said, "hint: ") {
				t.Errorf("exit %d: %s", code, said)
			}
			if mib > 96 {
				t.Errorf("%.0f MiB", mib)
			}
		})
	}
	if code, _, said := n.peakScan(); code != 0 {
		t.Errorf("afterwards: exit %d, %s", code, said)
	}
}

// endless is a stream of one byte.
type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}
