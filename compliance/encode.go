package compliance

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// Limits on what is decoded. A node has a few thousand packages.
const (
	MaxItems = 200_000
	maxLine  = 1 << 20
)

// EncodeItems writes items in their canonical form: sorted, one JSON object a line. Equal sets give equal bytes.
func EncodeItems(items []Item) []byte {
	items = slices.Clone(items)
	Sort(items)
	return encode(items)
}

// DecodeItems reads what EncodeItems wrote.
func DecodeItems(b []byte) ([]Item, error) { return decode[Item](b) }

// EncodeAvailable writes the rows sorted by name, architecture and version text, one JSON object a line.
func EncodeAvailable(rows []Available) []byte {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b Available) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Repository, b.Repository))
	})
	return encode(rows)
}

// DecodeAvailable reads what EncodeAvailable wrote.
func DecodeAvailable(b []byte) ([]Available, error) { return decode[Available](b) }

// Hash is the name of a canonical encoding: the SHA-256 of its bytes in hex.
func Hash(canonical []byte) string {
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}

// HashItems is the Hash of the items' canonical form.
func HashItems(items []Item) string { return Hash(EncodeItems(items)) }

// EncodeHeader writes a header as JSON.
func EncodeHeader(h *Header) []byte {
	b, err := json.Marshal(h)
	if err != nil {
		panic(err) // plain data always encodes
	}
	return b
}

// DecodeHeader reads a header; members that are not known are ignored.
func DecodeHeader(b []byte) (*Header, error) {
	if len(b) > maxLine {
		return nil, fmt.Errorf("a result header of %d bytes is too large", len(b))
	}
	h := new(Header)
	if err := json.Unmarshal(b, h); err != nil {
		return nil, fmt.Errorf("read result header: %w", err)
	}
	return h, nil
}

func encode[T any](rows []T) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i := range rows {
		if err := enc.Encode(&rows[i]); err != nil {
			panic(err) // plain data always encodes
		}
	}
	return b.Bytes()
}

func decode[T any](b []byte) ([]T, error) {
	var out []T
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(make([]byte, 0, 64<<10), maxLine)
	for s.Scan() {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		if len(out) >= MaxItems {
			return nil, fmt.Errorf("more than %d rows", MaxItems)
		}
		var row T
		if err := json.Unmarshal(s.Bytes(), &row); err != nil {
			return nil, fmt.Errorf("row %d: %w", len(out)+1, err)
		}
		out = append(out, row)
	}
	return out, s.Err()
}
