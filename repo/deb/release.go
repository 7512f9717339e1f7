package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Release is what this package keeps of a Release or InRelease file.
type Release struct {
	Origin, Label, Suite, Codename, Version string
	Date, ValidUntil                        time.Time // zero when absent or unreadable
	NotAutomatic                            bool
	ButAutomaticUpgrades                    bool
	Architectures, Components               []string
}

// ReadRelease reads a Release file, or an InRelease file whose clear-signature armour it leaves out. It does not
// check the signature: apt did, before it put the file in its place.
func ReadRelease(r io.Reader) (*Release, error) {
	b, err := readSmall(r)
	if err != nil {
		return nil, err
	}
	b = clearText(b)
	rel := &Release{}
	any := false
	for len(b) > 0 {
		key, value, rest := nextField(b)
		b = rest
		any = any || len(key) > 0
		v := string(value)
		switch string(key) {
		case "Origin":
			rel.Origin = v
		case "Label":
			rel.Label = v
		case "Suite":
			rel.Suite = v
		case "Codename":
			rel.Codename = v
		case "Version":
			rel.Version = v
		case "Date":
			rel.Date = ParseDate(v)
		case "Valid-Until":
			rel.ValidUntil = ParseDate(v)
		case "NotAutomatic":
			rel.NotAutomatic, _ = Bool(v)
		case "ButAutomaticUpgrades":
			rel.ButAutomaticUpgrades, _ = Bool(v)
		case "Architectures":
			rel.Architectures = strings.Fields(v)
		case "Components":
			rel.Components = strings.Fields(v)
		case "MD5Sum", "SHA1", "SHA256": // what follows is long and not wanted
			return rel, nil
		}
	}
	if !any {
		return nil, errors.New("damaged: no field of a Release file in it")
	}
	return rel, nil
}

// ReadSizes reads, out of a Release or InRelease file, how long each plain Packages list is, by its name below the
// file's folder: "main/binary-amd64/Packages".
func ReadSizes(r io.Reader) (map[string]int64, error) {
	b, err := readSmall(r)
	if err != nil {
		return nil, err
	}
	b = clearText(b)
	out := map[string]int64{}
	for len(b) > 0 {
		key, value, rest := nextField(b)
		b = rest
		switch string(key) {
		case "MD5Sum", "SHA1", "SHA256", "SHA512":
			for line := range bytes.Lines(value) {
				if !bytes.HasSuffix(bytes.TrimSpace(line), []byte("Packages")) {
					continue
				}
				w := bytes.Fields(line)
				if len(w) != 3 {
					continue
				}
				if n, err := strconv.ParseInt(string(w[1]), 10, 64); err == nil {
					out[string(w[2])] = n
				}
			}
		}
	}
	return out, nil
}

// clearText takes the signed text out of a clear-signed message; other bytes come back as they are.
func clearText(b []byte) []byte {
	const begin = "-----BEGIN PGP SIGNED MESSAGE-----"
	if !bytes.HasPrefix(b, []byte(begin)) {
		return b
	}
	if i := bytes.Index(b, []byte("\n\n")); i >= 0 { // after the Hash: headers
		b = b[i+2:]
	}
	if i := bytes.Index(b, []byte("\n-----BEGIN PGP SIGNATURE-----")); i >= 0 {
		b = b[:i+1]
	}
	return b
}

// ParseDate reads the dates of Release files: RFC 1123 with UTC, GMT or a numeric zone, day with one or two digits.
func ParseDate(s string) time.Time {
	for _, layout := range []string{"Mon, _2 Jan 2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04:05 -0700", "Mon, 02 Jan 2006 15:04:05 Z"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

func readSmall(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSmall+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxSmall {
		return nil, fmt.Errorf("file of more than %d bytes: %w", MaxSmall, ErrTooLarge)
	}
	return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), nil
}
