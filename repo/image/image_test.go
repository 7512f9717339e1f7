package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// entry is an entry of a layer in a test: "name" a file, "name/" a folder, "name -> target" a symbolic and
// "name = target" a hard link, "name !" a device.
type entry struct{ name, content string }

var day = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func layerTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), ModTime: day, Typeflag: tar.TypeReg}
		if name, target, ok := strings.Cut(e.name, " -> "); ok {
			h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeSymlink
		} else if name, target, ok := strings.Cut(e.name, " = "); ok {
			h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeLink
		} else if name, ok := strings.CutSuffix(e.name, " !"); ok {
			h.Name, h.Typeflag = name, tar.TypeBlock
		} else if strings.HasSuffix(e.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// memory is an archive's files.
type memory map[string][]byte

func (m memory) open(name string) (io.ReadCloser, int64, error) {
	b, ok := m[name]
	if !ok {
		return nil, 0, errMissing
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (m memory) Close() error { return nil }

func (m memory) blob(mediaType string, b []byte) map[string]any {
	d := digestOf(b)
	m["blobs/sha256/"+d[7:]] = b
	return map[string]any{"mediaType": mediaType, "digest": d, "size": len(b)}
}

func (m memory) json(t testing.TB, mediaType string, v any) map[string]any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return m.blob(mediaType, b)
}

const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

func pack(t testing.TB, how string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "+gzip":
		w = gzip.NewWriter(&out)
	case "+zstd":
		z, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return b
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// addImage puts an image into a layout and returns its descriptor.
func (m memory) addImage(t testing.TB, arch, compression string, layers ...[]byte) map[string]any {
	t.Helper()
	var ids []string
	var descs []any
	for _, l := range layers {
		ids = append(ids, digestOf(l))
		descs = append(descs, m.blob(typeLayer+compression, pack(t, compression, l)))
	}
	conf := m.json(t, typeConfig, map[string]any{"architecture": arch, "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	d := m.json(t, typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": conf, "layers": descs})
	d["platform"] = map[string]any{"os": "linux", "architecture": arch}
	return d
}

func (m memory) index(t testing.TB, list ...any) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": list})
	if err != nil {
		t.Fatal(err)
	}
	m["index.json"] = b
	m["oci-layout"] = []byte(`{"imageLayoutVersion":"1.0.0"}`)
}

// saved makes what docker save wrote before version 25.
func savedArchive(t testing.TB, tags []string, layers ...[]byte) memory {
	t.Helper()
	m := memory{}
	var ids, names []string
	for i, l := range layers {
		ids = append(ids, digestOf(l))
		names = append(names, digestOf([]byte{byte(i)})[7:]+"/layer.tar")
		m[names[i]] = l
	}
	conf, err := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	if err != nil {
		t.Fatal(err)
	}
	name := digestOf(conf)[7:] + ".json"
	m[name] = conf
	if m["manifest.json"], err = json.Marshal([]any{map[string]any{"Config": name, "RepoTags": tags, "Layers": names}}); err != nil {
		t.Fatal(err)
	}
	return m
}

func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, p) // p is below dir
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			out[name] = "-> " + target
			return err
		case !d.IsDir():
			b, err := os.ReadFile(p)
			out[name] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func unpackAll(t testing.TB, m blobs, want Want, lim Limits) (map[string]string, string, error) {
	t.Helper()
	a := &Archive{m, io.NopCloser(nil)}
	img, err := a.Choose(t.Context(), want)
	if err != nil {
		return nil, "", err
	}
	dir := t.TempDir()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := img.Unpack(t.Context(), r, lim); err != nil {
		return nil, dir, err
	}
	return tree(t, dir), dir, nil
}

// TestLayers applies layers as a container runtime does.
func TestLayers(t *testing.T) {
	t.Parallel()
	base := []entry{{"etc/", ""}, {"etc/os-release", "ID=x"}, {"etc/shadow", "secret"}, {"var/lib/dpkg/", ""}, {"var/lib/dpkg/status", "one"}, {"var/lib/dpkg/info/a.list", ""}, {"usr/bin/tool", "elf"}}
	for _, tc := range []struct {
		name   string
		layers [][]entry
		want   map[string]string
	}{
		{"only_what_managers_read", [][]entry{base}, map[string]string{"etc/os-release": "ID=x", "var/lib/dpkg/status": "one", "var/lib/dpkg/info/a.list": ""}},
		{"a_later_layer_wins", [][]entry{base, {{"var/lib/dpkg/status", "two"}}}, map[string]string{"etc/os-release": "ID=x", "var/lib/dpkg/status": "two", "var/lib/dpkg/info/a.list": ""}},
		{"whiteout_of_a_file", [][]entry{base, {{"var/lib/dpkg/.wh.status", ""}}}, map[string]string{"etc/os-release": "ID=x", "var/lib/dpkg/info/a.list": ""}},
		{"whiteout_of_a_folder_above", [][]entry{base, {{".wh.var", ""}}}, map[string]string{"etc/os-release": "ID=x"}},
		{"opaque_folder", [][]entry{base, {{"var/lib/dpkg/.wh..wh..opq", ""}, {"var/lib/dpkg/arch", "amd64"}}}, map[string]string{"etc/os-release": "ID=x", "var/lib/dpkg/arch": "amd64"}},
		{
			"opaque_after_its_content",
			[][]entry{base, {{"var/lib/dpkg/arch", "amd64"}, {"var/lib/dpkg/info/b.list", ""}, {"var/lib/dpkg/.wh..wh..opq", ""}}},
			map[string]string{"etc/os-release": "ID=x", "var/lib/dpkg/arch": "amd64", "var/lib/dpkg/info/b.list": ""},
		},
		{"whiteout_spares_its_own_layer", [][]entry{base, {{"var/lib/dpkg/status", "new"}, {"var/lib/dpkg/.wh.status", ""}}}, map[string]string{"etc/os-release": "ID=x", "var/lib/dpkg/status": "new", "var/lib/dpkg/info/a.list": ""}},
		{"whiteout_of_nothing_there", [][]entry{base, {{"etc/.wh.gone", ""}, {"opt/.wh.gone", ""}, {"etc/.wh..wh.plnk", ""}}}, map[string]string{"etc/os-release": "ID=x", "var/lib/dpkg/status": "one", "var/lib/dpkg/info/a.list": ""}},
		{"a_file_becomes_a_folder", [][]entry{{{"etc/apt", "file"}}, {{"etc/apt/", ""}, {"etc/apt/sources.list", "deb"}}}, map[string]string{"etc/apt/sources.list": "deb"}},
		{"a_folder_becomes_a_file", [][]entry{{{"etc/apt/sources.list", "deb"}}, {{"etc/apt", "file"}}}, map[string]string{"etc/apt": "file"}},
		{"a_folder_becomes_a_link", [][]entry{{{"var/lib/rpm/x", "1"}}, {{"var/lib/rpm -> ../../usr/lib/sysimage/rpm", ""}, {"usr/lib/sysimage/rpm/y", "2"}}}, map[string]string{"var/lib/rpm": "-> ../../usr/lib/sysimage/rpm", "usr/lib/sysimage/rpm/y": "2"}},
		{"entries_below_a_link", [][]entry{{{"lib -> usr/lib", ""}}, {{"lib/os-release", "ID=y"}}}, map[string]string{"lib": "-> usr/lib", "usr/lib/os-release": "ID=y"}},
		{"absolute_links_stay_inside", [][]entry{{{"etc/os-release -> /usr/lib/os-release", ""}, {"usr/lib/os-release", "ID=z"}}}, map[string]string{"etc/os-release": "-> ../usr/lib/os-release", "usr/lib/os-release": "ID=z"}},
		{"links_above_the_root_stay_inside", [][]entry{{{"etc/apt/k -> ../../../../etc/passwd", ""}}}, map[string]string{"etc/apt/k": "-> ../passwd"}},
		{"a_wanted_folder_elsewhere", [][]entry{{{"var -> /data/var", ""}, {"data/var/lib/dpkg/status", "s"}, {"data/other", "no"}}}, map[string]string{"var": "-> data/var", "data/var/lib/dpkg/status": "s"}},
		{"hard_links", [][]entry{{{"etc/apt/a", "1"}, {"etc/apt/b = etc/apt/a", ""}}, {{"etc/apt/a", "2"}}}, map[string]string{"etc/apt/a": "2", "etc/apt/b": "1"}},
		{"hard_link_to_what_is_not_wanted", [][]entry{{{"opt/a", "1"}}, {{"etc/apt/b = opt/a", ""}}}, map[string]string{"opt/a": "1", "etc/apt/b": "1"}},
		{"devices_are_left_out", [][]entry{{{"etc/apt/dev !", ""}, {"etc/apt/x", "1"}}}, map[string]string{"etc/apt/x": "1"}},
		{"kernels_by_name", [][]entry{{{"boot/vmlinuz-6.1", "large"}, {"lib/modules/6.1/", ""}, {"lib/modules/6.1/a.ko", "x"}}}, map[string]string{"boot/vmlinuz-6.1": ""}},
		{"names_with_a_dot_in_front", [][]entry{{{"./etc/os-release", "1"}}, {{"./etc/.wh.os-release", ""}}}, map[string]string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var layers [][]byte
			for _, l := range tc.layers {
				layers = append(layers, layerTar(t, l...))
			}
			for _, compression := range []string{"", "+gzip", "+zstd"} {
				m := memory{}
				m.index(t, m.addImage(t, "amd64", compression, layers...))
				got, _, err := unpackAll(t, m, Want{Arch: "amd64"}, DefaultLimits())
				if err != nil {
					t.Fatalf("Unpack of %q layers: %v", compression, err)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("%q layers (-want +got):\n%s", compression, diff)
				}
			}
			got, _, err := unpackAll(t, savedArchive(t, []string{"x:1"}, layers...), Want{}, DefaultLimits())
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("docker save: %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestTimesAreKept(t *testing.T) {
	t.Parallel()
	m := memory{}
	m.index(t, m.addImage(t, "amd64", "+gzip", layerTar(t, entry{"var/lib/dpkg/info/a.list", ""})))
	_, dir, err := unpackAll(t, m, Want{}, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "var/lib/dpkg/info/a.list"))
	if err != nil || !info.ModTime().Equal(day) {
		t.Errorf("time %v, %v; want %v", info.ModTime(), err, day)
	}
}

// TestHostileLayers are refused, and nothing of them is outside the folder.
func TestHostileLayers(t *testing.T) {
	t.Parallel()
	small := DefaultLimits()
	small.Entries, small.Read, small.Written, small.Path, small.Layers, small.Files = 20, 1<<20, 1000, 100, 3, 4
	many := make([]entry, 21)
	for i := range many {
		many[i].name = "opt/" + strings.Repeat("x", i+1)
	}
	for _, tc := range []struct {
		name   string
		layers [][]entry
		want   string
	}{
		{"dots", [][]entry{{{"etc/../../escape", "x"}}}, "leads out of the image"},
		{"dots_that_stay_inside", [][]entry{{{"etc/../etc/apt/x", "x"}}}, "leads out of the image"},
		{"absolute", [][]entry{{{"/etc/apt/x", "x"}}}, "not one below"},
		{"whiteout_of_the_parent", [][]entry{{{"etc/.wh...", ""}}}, "whiteout of nothing"},
		{"empty_whiteout", [][]entry{{{"etc/.wh.", ""}}}, "whiteout of nothing"},
		{"hard_link_outside", [][]entry{{{"etc/apt/x = ../../etc/passwd", ""}}}, "leads out of the image"},
		{"hard_link_to_nothing", [][]entry{{{"etc/apt/x = etc/none", ""}}}, "which is not there"},
		{"hard_link_to_a_folder", [][]entry{{{"etc/apt/", ""}, {"etc/dpkg = etc/apt", ""}}}, "no file"},
		{"links_in_a_circle", [][]entry{{{"etc -> etc2", ""}, {"etc2 -> etc", ""}}, {{"etc -> etc", ""}, {"etc/apt/x", "1"}}}, "too many links"},
		{"entries", [][]entry{many}, "more than 20 entries"},
		{"files", [][]entry{{{"etc/apt/1", ""}, {"etc/apt/2", ""}, {"etc/apt/3", ""}, {"etc/apt/4", ""}, {"etc/apt/5", ""}}}, "more than 4 files"},
		{"bytes_of_one_file", [][]entry{{{"etc/apt/x", strings.Repeat("x", 1001)}}}, "larger than 1000 bytes"},
		{"bytes_of_all", [][]entry{{{"etc/apt/x", strings.Repeat("x", 600)}}, {{"etc/apt/y", strings.Repeat("x", 600)}}}, "larger than 1000 bytes"},
		{"bytes_that_are_skipped", [][]entry{{{"opt/x", strings.Repeat("\x00", 2<<20)}}}, "layers are larger than"},
		{"path", [][]entry{{{"etc/apt/" + strings.Repeat("x", 100), ""}}}, "a name of 108 bytes"},
		{"link_target", [][]entry{{{"etc/apt/x -> " + strings.Repeat("x", 101), ""}}}, "target of 101 bytes"},
		{"layers", [][]entry{{{"a", ""}}, {{"b", ""}}, {{"c", ""}}, {{"d", ""}}}, "has 4 layers"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := memory{}
			var layers [][]byte
			for _, l := range tc.layers {
				layers = append(layers, layerTar(t, l...))
			}
			m.index(t, m.addImage(t, "amd64", "+gzip", layers...))
			_, dir, err := unpackAll(t, m, Want{}, small)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Unpack = %v, want %q", err, tc.want)
			}
			if dir != "" {
				if above, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(above) != 1 {
					t.Errorf("beside the folder: %v, %v", above, err)
				}
			}
		})
	}
}

// TestLinksOutOfTheFolder cannot be written through, however they come about.
func TestLinksOutOfTheFolder(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	m := memory{}
	m.index(t, m.addImage(t, "amd64", "", layerTar(t, entry{"etc -> " + outside, ""}), layerTar(t, entry{"etc/apt/x", "1"})))
	got, _, err := unpackAll(t, m, Want{}, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(outside); err != nil || len(list) > 0 {
		t.Errorf("outside there is %v, %v", list, err)
	}
	if got[strings.TrimPrefix(filepath.ToSlash(outside), "/")+"/apt/x"] != "1" {
		t.Errorf("the link did not lead inside: %v", got)
	}
}

// TestDamage finds every kind of damage by the digests.
func TestDamage(t *testing.T) {
	t.Parallel()
	layer := layerTar(t, entry{"var/lib/dpkg/status", strings.Repeat("Package: x\n", 3000)})
	for _, compression := range []string{"", "+gzip", "+zstd"} {
		whole := memory{}
		whole.index(t, whole.addImage(t, "amd64", compression, layer))
		if _, _, err := unpackAll(t, whole, Want{}, DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		for name, b := range whole {
			if name == "oci-layout" {
				continue
			}
			for what, bad := range map[string][]byte{"cut": b[:len(b)/2], "flipped": flip(b), "empty": {}} {
				m := memory{}
				for k, v := range whole {
					m[k] = v
				}
				m[name] = bad
				if _, _, err := unpackAll(t, m, Want{}, DefaultLimits()); err == nil {
					t.Errorf("%s layer: %s was %s and nobody noticed", compression, name, what)
				}
				delete(m, name)
				if _, _, err := unpackAll(t, m, Want{}, DefaultLimits()); err == nil {
					t.Errorf("%s layer: %s was gone and nobody noticed", compression, name)
				}
			}
		}
	}
	whole := savedArchive(t, []string{"a:1"}, layer)
	for name, b := range whole {
		for _, bad := range [][]byte{b[:len(b)/2], {}} {
			m := memory{}
			for k, v := range whole {
				m[k] = v
			}
			m[name] = bad
			if _, _, err := unpackAll(t, m, Want{}, DefaultLimits()); err == nil {
				t.Errorf("docker save: %s was damaged and nobody noticed", name)
			}
		}
	}
	// a layer that is not what the configuration says, though the manifest agrees with it
	m := memory{}
	d := m.addImage(t, "amd64", "", layer)
	other := m.addImage(t, "amd64", "", layerTar(t, entry{"etc/os-release", "x"}))
	var man, man2 map[string]any
	for k, v := range map[string]*map[string]any{d["digest"].(string): &man, other["digest"].(string): &man2} {
		if err := json.Unmarshal(m["blobs/sha256/"+k[7:]], v); err != nil {
			t.Fatal(err)
		}
	}
	man["layers"] = man2["layers"]
	m.index(t, m.json(t, typeManifest, man))
	if _, _, err := unpackAll(t, m, Want{}, DefaultLimits()); err == nil || !strings.Contains(err.Error(), "the content of") {
		t.Errorf("another layer: %v", err)
	}
}

func flip(b []byte) []byte {
	b = bytes.Clone(b)
	if i := bytes.IndexByte(b, '"'); json.Valid(b) && i >= 0 {
		b[i] = 'x'
		return b
	}
	b[len(b)/2] ^= 0x40
	return b
}

// TestChoose takes this machine's platform, the only image, or the one that is named; else it says what there is.
func TestChoose(t *testing.T) {
	t.Parallel()
	m := memory{}
	amd, arm := m.addImage(t, "amd64", "+gzip", layerTar(t, entry{"etc/os-release", "amd"})), m.addImage(t, "arm64", "+gzip", layerTar(t, entry{"etc/os-release", "arm"}))
	riscv := m.json(t, typeManifest, "x")
	delete(m, "blobs/sha256/"+riscv["digest"].(string)[7:])
	riscv["platform"] = map[string]any{"os": "linux", "architecture": "riscv64"}
	proof := m.json(t, typeManifest, map[string]any{"config": m.json(t, typeConfig, map[string]any{}), "layers": []any{}})
	proof["platform"] = map[string]any{"os": "unknown", "architecture": "unknown"}
	multi := m.json(t, typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []any{amd, arm, riscv, proof}})
	multi["annotations"] = map[string]any{"org.opencontainers.image.ref.name": "1.2", "io.containerd.image.name": "registry.example.com/team/app:1.2"}
	other := m.addImage(t, "amd64", "", layerTar(t, entry{"etc/os-release", "other"}))
	other["annotations"] = map[string]any{"org.opencontainers.image.ref.name": "other\x1b[31m:2"}
	chart := m.json(t, typeManifest, map[string]any{"config": m.json(t, "application/vnd.cncf.helm.config.v1+json", map[string]any{}), "layers": []any{}})
	m.index(t, multi, other, chart)
	for _, tc := range []struct {
		name  string
		want  Want
		got   string
		wrong string
	}{
		{"several_for_this_machine", Want{Arch: "amd64"}, "", "there are several images; the archive has registry.example.com/team/app:1.2 (linux/amd64), other?[31m:2 (linux/amd64)"},
		{"the_only_one_for_this_machine", Want{Arch: "arm64"}, "arm", ""},
		{"by_platform", Want{Arch: "amd64", Platform: "linux/arm64"}, "arm", ""},
		{"by_name", Want{Arch: "amd64", Name: "1.2"}, "amd", ""},
		{"by_full_name", Want{Arch: "amd64", Name: "registry.example.com/team/app:1.2"}, "amd", ""},
		{"by_short_name", Want{Arch: "amd64", Name: "app:1.2"}, "amd", ""},
		{"by_digest", Want{Arch: "amd64", Name: other["digest"].(string)}, "other", ""},
		{"by_short_digest", Want{Arch: "s390x", Name: other["digest"].(string)[7:19]}, "other", ""},
		{"no_such_name", Want{Name: "app:1.3"}, "", `no image is called "app:1.3"; the archive has `},
		{"no_such_platform", Want{Platform: "linux/s390x"}, "", "there is no image for linux/s390x; the archive has "},
		{"listed_but_not_there", Want{Platform: "linux/riscv64"}, "", "does not hold it"},
		{"neither_this_nor_only", Want{Arch: "ppc64le", Name: "1.2"}, "", "there is no image for linux/ppc64le"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _, err := unpackAll(t, m, tc.want, DefaultLimits())
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) {
					t.Errorf("Choose(%+v) = %v, want %q", tc.want, err, tc.wrong)
				}
				return
			}
			if err != nil || got["etc/os-release"] != tc.got {
				t.Errorf("Choose(%+v) = %v, %v; want %s", tc.want, got, err, tc.got)
			}
		})
	}
	var choice *ChoiceError
	if _, err := (&Archive{blobs: m}).Choose(t.Context(), Want{Name: "x"}); !errors.As(err, &choice) || len(choice.Choices) != 4 {
		t.Errorf("choices %+v, %v", choice, err)
	}
}

// TestOpen reads every form in which an archive lies on a disk.
func TestOpen(t *testing.T) {
	t.Parallel()
	m := memory{}
	m.index(t, m.addImage(t, "amd64", "+gzip", layerTar(t, entry{"etc/os-release", "here"})))
	dir := t.TempDir()
	var entries []entry
	for name, b := range m {
		entries = append(entries, entry{name, string(b)})
		p := filepath.Join(dir, "layout", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	plainTar := layerTar(t, entries...)
	old := savedArchive(t, []string{"a:1"}, layerTar(t, entry{"etc/os-release", "here"}), layerTar(t, entry{"opt/x", ""}))
	entries = nil
	for name, b := range old {
		if len(b) > 1024 && entries == nil { // a layer that another name stands for
			entries = append(entries, entry{"twin/layer.tar", string(b)}, entry{name + " -> ../twin/layer.tar", ""})
			continue
		}
		entries = append(entries, entry{name, string(b)})
	}
	for name, b := range map[string][]byte{
		"plain.tar": plainTar, "x.tar.gz": pack(t, "+gzip", plainTar), "x.tar.zst": pack(t, "+zstd", plainTar), "old.tar": layerTar(t, entries...),
		"cut.tar": plainTar[:520], "none.tar": layerTar(t, entry{"a", "b"}), "empty.tar": layerTar(t), "text": []byte(strings.Repeat("no tar at all ", 100)), "zero": {},
		"x.tar.xz": {0xfd, '7', 'z', 'X', 'Z', 0}, "cut.tar.gz": pack(t, "+gzip", plainTar)[:500],
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, wrong := range map[string]string{
		"layout": "", "plain.tar": "", "x.tar.gz": "", "x.tar.zst": "", "old.tar": "", "-": "", "cut.tar": "cut off", "none.tar": "neither an OCI layout", "empty.tar": "empty",
		"text": "neither an OCI layout", "zero": "empty", "x.tar.xz": "EOF", "cut.tar.gz": "EOF", "gone": "no such file",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := filepath.Join(dir, name)
			if name == "-" {
				p = "-"
			}
			spoolDir := t.TempDir()
			a, err := Open(t.Context(), p, bytes.NewReader(pack(t, "+gzip", plainTar)), spoolDir)
			if err == nil {
				defer a.Close()
				var got map[string]string
				if got, _, err = unpackAll(t, a.blobs, Want{}, DefaultLimits()); err == nil && got["etc/os-release"] != "here" {
					t.Errorf("got %v", got)
				}
			}
			if wrong == "" && err != nil || wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)) {
				t.Errorf("Open(%s) = %v, want %q", name, err, wrong)
			}
		})
	}
}

// TestCancelled stops reading when the context ends.
func TestCancelled(t *testing.T) {
	t.Parallel()
	m := memory{}
	m.index(t, m.addImage(t, "amd64", "+gzip", layerTar(t, entry{"etc/os-release", "x"})))
	img, err := (&Archive{blobs: m}).Choose(t.Context(), Want{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := img.Unpack(ctx, r, DefaultLimits()); !errors.Is(err, context.Canceled) {
		t.Errorf("Unpack = %v, want context canceled", err)
	}
}

func TestWanted(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"etc/apt/sources.list.d/x.sources": true, "etc/debian_version": true, "etc/redhat-release": true, "etc": true, "var/lib/rpm/rpmdb.sqlite": true,
		"boot/vmlinuz-6": true, "boot/grub/grub.cfg": false, "lib/modules/6.1": true, "lib/modules/6.1/a.ko": false, "etc/shadow": false, "usr/bin/ls": false,
		"home/x/.ssh/id": false, "etc/pki/entitlement/1.pem": true, "etc/ssl/private/k": false, "var/lib/dpkgx": false,
		"usr/bin/dnf": true, "lib64/ld-linux-x86-64.so.2": true, "usr/lib/python3.9/site-packages/dnf-plugins/versionlock.py": true, "usr/lib/ldap/x.so": false,
	} {
		if Wanted(name) != want {
			t.Errorf("Wanted(%s) = %v", name, !want)
		}
	}
}
