package rpm

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
)

// maxData bounds the files that a repomd.xml lists; real ones have about twenty.
const maxData = 1000

// ReadRepomd reads a repository's index. A file that is said to lie outside of the repository is an error. That it is to be
// fetched from another address (xml:base) is none: its name is the same there, and on the disk.
func ReadRepomd(r io.Reader) (*Repomd, error) {
	md := &Repomd{}
	var t tokens
	err := scanRecords(&capped{r: r, left: MaxSmall}, "repomd", "", "", func(b []byte, _ bool) error {
		t.reset(b)
		t.next()
		switch string(t.name) {
		case "revision":
			md.Revision = string(t.text())
		case "data":
			d, err := readData(&t)
			if err != nil {
				return err
			}
			md.Data = append(md.Data, *d)
		}
		if len(md.Data) > maxData {
			return fmt.Errorf("more than %d files: %w", maxData, ErrTooLarge)
		}
		return t.err
	})
	if err != nil {
		return nil, fmt.Errorf("repomd.xml: %w", err)
	}
	return md, nil
}

// Find returns the first file of the type, or nil.
func (m *Repomd) Find(kind string) *Data {
	for i := range m.Data {
		if m.Data[i].Type == kind {
			return &m.Data[i]
		}
	}
	return nil
}

// readData reads the data element that just started.
func readData(t *tokens) (*Data, error) {
	d := &Data{}
	t.attr(func(name, v []byte) {
		if string(name) == "type" {
			d.Type = string(v)
		}
	})
	for {
		switch t.next() {
		case done:
			if t.err != nil {
				return nil, t.err
			}
			if d.Type == "" {
				return nil, errors.New("a file without a type")
			}
			if !inside(d.Location) {
				return nil, fmt.Errorf("%s lies outside of the repository: %q", d.Type, clip([]byte(d.Location)))
			}
			return d, nil
		case start:
			switch string(t.name) {
			case "location":
				t.attr(func(name, v []byte) {
					if string(name) == "href" {
						d.Location = string(v)
					}
				})
			case "checksum":
				t.attr(func(name, v []byte) {
					if string(name) == "type" {
						d.ChecksumType = string(v)
					}
				})
				d.Checksum = string(t.text())
			case "size":
				d.Bytes = number(t.text())
			case "open-size":
				d.OpenBytes = number(t.text())
			case "timestamp":
				whole, _, _ := strings.Cut(string(t.text()), ".")
				d.Timestamp = unix(number([]byte(whole)))
			}
		}
	}
}

// inside reports whether p is a relative path that stays below where it starts, also once it is unescaped.
func inside(p string) bool {
	plain, err := url.PathUnescape(p)
	if err != nil {
		plain = p
	}
	for _, p := range []string{p, plain} {
		clean := path.Clean(p)
		if p == "" || strings.Contains(p, "://") || strings.ContainsAny(p, "\\\x00") || p[0] == '/' || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") {
			return false
		}
	}
	return true
}

// capped fails with ErrTooLarge beyond its limit.
type capped struct {
	r    io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, ErrTooLarge
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
