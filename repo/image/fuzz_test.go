package image

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func smallLimits() Limits {
	return Limits{Layers: 8, Entries: 200, Read: 4 << 20, Files: 50, Written: 1 << 20, Path: 300}
}

// FuzzLayer: whatever a layer holds, nothing is written outside the folder and nothing beyond the bounds.
func FuzzLayer(f *testing.F) {
	f.Add(layerTar(f, entry{"etc/os-release", "x"}, entry{"var/lib/dpkg/.wh..wh..opq", ""}))
	f.Add(layerTar(f, entry{"etc -> /tmp", ""}, entry{"etc/apt/x", "1"}, entry{"etc/apt/y = etc/apt/x", ""}, entry{"etc/.wh.apt", ""}))
	f.Add(layerTar(f, entry{"var -> ../../../..", ""}, entry{"var/lib/dpkg/status", "1"}, entry{"boot/a !", ""}))
	f.Add(pack(f, "+gzip", layerTar(f, entry{"etc/../x", ""})))
	f.Add(pack(f, "+zstd", layerTar(f, entry{"/etc/apt/x", ""})))
	f.Fuzz(func(t *testing.T, b []byte) {
		top := t.TempDir()
		if err := os.WriteFile(filepath.Join(top, "canary"), []byte("here"), 0o644); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(top, "a", "root")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		r, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		img := &Image{blobs: memory{"layer": b}, layers: []layer{{"layer", "", -1, digestOf(b)}}}
		err = img.Unpack(t.Context(), r, smallLimits())
		if err == nil && len(b) > 0 && bytes.HasPrefix(b, []byte("\x1f\x8b")) {
			t.Error("a compressed layer has the digest of what is in it")
		}
		for name, want := range map[string]int{top: 2, filepath.Join(top, "a"): 1} {
			if list, err := os.ReadDir(name); err != nil || len(list) != want {
				t.Errorf("%s holds %v, %v", name, list, err)
			}
		}
		if got, err := os.ReadFile(filepath.Join(top, "canary")); err != nil || string(got) != "here" {
			t.Errorf("the canary says %q, %v", got, err)
		}
		var size int
		for name, content := range tree(t, dir) {
			if target, ok := strings.CutPrefix(content, "-> "); ok {
				if strings.HasPrefix(target, "/") {
					t.Errorf("%s leads to %s", name, target)
				}
				continue
			}
			size += len(content)
		}
		if int64(size) > 50*smallLimits().Written { // hard links count once
			t.Errorf("%d bytes were written", size)
		}
	})
}

// FuzzManifest: whatever an index, a manifest or a configuration says, it is an image or an error.
func FuzzManifest(f *testing.F) {
	m := memory{}
	m.index(f, m.addImage(f, "amd64", "+gzip", layerTar(f, entry{"etc/os-release", "x"})))
	for _, b := range m {
		f.Add(b, b, b)
	}
	old := savedArchive(f, []string{"a:1"}, layerTar(f, entry{"etc/os-release", "x"}))
	for name, b := range old {
		if strings.HasSuffix(name, ".json") {
			f.Add([]byte{}, b, b)
		}
	}
	f.Add([]byte(`{"manifests":[{"digest":"sha256:zz","size":-1,"annotations":{"io.containerd.image.name":"\u001b"}}]}`), []byte("{}"), []byte("{}"))
	f.Fuzz(func(t *testing.T, index, second, third []byte) {
		d := func(b []byte) string { return "blobs/sha256/" + digestOf(b)[7:] }
		files := memory{"manifest.json": second, "config.json": third, d(second): second, d(third): third, "oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
		if len(index) > 0 {
			files["index.json"] = index
		}
		for _, w := range []Want{{}, {Arch: "amd64"}, {Platform: "linux/arm64"}, {Name: "a:1"}} {
			img, err := (&Archive{blobs: files}).Choose(t.Context(), w)
			if err != nil {
				continue
			}
			if img.Digest == "" || strings.ContainsRune(img.Name+img.Platform, 0x1b) {
				t.Errorf("an image without a digest, or with what a terminal obeys: %+v", img)
			}
			r, err := os.OpenRoot(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			_ = img.Unpack(t.Context(), r, smallLimits()) // an error or not, it ends
			r.Close()
		}
	})
}

// FuzzArchive: whatever a tar's members are, opening one gives bytes of the file.
func FuzzArchive(f *testing.F) {
	f.Add(layerTar(f, entry{"index.json", "{}"}, entry{"a -> b", ""}, entry{"b -> a", ""}, entry{"c = index.json", ""}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		a := &tarball{at: r, files: map[string]member{}}
		if a.index(t.Context(), r) != nil {
			return
		}
		for name := range a.files {
			rc, size, err := a.open(name)
			if err != nil {
				continue
			}
			if size < 0 {
				t.Errorf("%s has %d bytes", name, size)
			}
			rc.Close()
		}
		if _, err := (&Archive{blobs: a}).Choose(t.Context(), Want{}); err != nil {
			return
		}
	})
}
