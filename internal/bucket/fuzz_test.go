package bucket_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"oakum.dev/internal/bucket"
)

func FuzzPath(f *testing.F) {
	store, err := bucket.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = store.Close() })
	f.Add("/bucket/a/b", "localhost")
	f.Add("/bucket/%2e%2e/%2e%2e/etc/passwd", "bucket.localhost")
	f.Add("/../..//x", "bucket.127.0.0.1:80")
	h := &bucket.Handler{Store: store}
	f.Fuzz(func(t *testing.T, path, host string) {
		r := &http.Request{Method: http.MethodGet, RequestURI: path, Host: host, URL: &url.URL{}, Header: http.Header{}}
		b, key, err := h.Locate(r)
		if err != nil {
			return
		}
		if bucket.ValidKey(key) {
			for seg := range strings.SplitSeq(key, "/") {
				if seg == ".." || seg == "." || seg == "" {
					t.Errorf("key %q is valid", key)
				}
			}
		}
		o, err := store.Put(t.Context(), "000000000001", b, key, strings.NewReader("x"))
		if err != nil {
			return
		}
		file, got, err := store.Get("000000000001", b, key)
		if err != nil || got != o {
			t.Fatalf("%q/%q is stored as %+v and found as %+v, %v", b, key, o, got, err)
		}
		var text bytes.Buffer
		if _, err := text.ReadFrom(file); err != nil || text.String() != "x" {
			t.Errorf("%q/%q reads %q, %v", b, key, text.String(), err)
		}
		_ = file.Close()
		if err := store.Delete("000000000001", b, key); err != nil {
			t.Errorf("delete %q/%q: %v", b, key, err)
		}
	})
}
