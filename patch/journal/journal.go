// Package journal keeps the record of a run on disk so that a crash at any instant leaves either the old state
// or the new one. A Journal is one append-only file of checksummed records; WriteFile replaces a whole file.
// It knows nothing of what the records mean. Start with Open.
package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// MaxRecord is the largest record in bytes.
const MaxRecord = 16 << 20

const headerSize = 8 // big-endian length, then CRC-32C of length and payload

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrRecordSize is returned for a record that is empty or larger than MaxRecord.
var ErrRecordSize = errors.New("journal record is empty or too large")

// Journal is an open journal file. Its methods must not be called at the same time.
type Journal struct {
	file *os.File
	size int64 // bytes of whole records
	err  error // the first failed write; the file may hold a torn record after it
}

// Open opens or creates the journal at path with mode 0600 and returns the records in it. Bytes after the last
// whole record, left by a crash, are cut off. A new file's directory entry is durable when Open returns.
func Open(path string) (*Journal, [][]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, nil, err
	}
	records, size, err := recoverFile(f)
	if err == nil && size == 0 {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = f.Close() // the first error is the one that matters
		return nil, nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	return &Journal{file: f, size: size}, records, nil
}

// Read returns the whole records of the journal at path without changing it.
func Read(path string) ([][]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	records, _ := Decode(b)
	return records, nil
}

func recoverFile(f *os.File) ([][]byte, int64, error) {
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, 0, err
	}
	records, size := Decode(b)
	if size == len(b) {
		return records, int64(size), nil
	}
	if err := f.Truncate(int64(size)); err != nil {
		return nil, 0, err
	}
	return records, int64(size), f.Sync()
}

// Decode splits b into records and returns how many bytes they take. It stops at the first record that is
// incomplete or damaged. The records are copies.
func Decode(b []byte) (records [][]byte, size int) {
	for {
		rest := b[size:]
		if len(rest) < headerSize {
			return records, size
		}
		n := binary.BigEndian.Uint32(rest)
		if n == 0 || n > MaxRecord || int(n) > len(rest)-headerSize {
			return records, size
		}
		payload := rest[headerSize : headerSize+int(n)]
		if checksum(rest[:4], payload) != binary.BigEndian.Uint32(rest[4:]) {
			return records, size
		}
		records = append(records, append([]byte(nil), payload...))
		size += headerSize + int(n)
	}
}

// Encode appends the form of one record on disk to dst.
func Encode(dst, record []byte) []byte {
	var h [headerSize]byte
	binary.BigEndian.PutUint32(h[:], uint32(len(record)))
	binary.BigEndian.PutUint32(h[4:], checksum(h[:4], record))
	return append(append(dst, h[:]...), record...)
}

func checksum(length, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, payload)
}

// Append writes one record and returns when it is on stable storage. After an error the journal accepts nothing
// more: what follows a torn record would be lost at the next Open.
func (j *Journal) Append(record []byte) error {
	if len(record) == 0 || len(record) > MaxRecord {
		return ErrRecordSize
	}
	if j.err != nil {
		return j.err
	}
	b := Encode(nil, record)
	if _, err := j.file.WriteAt(b, j.size); err != nil {
		j.err = err
		return err
	}
	if err := j.file.Sync(); err != nil {
		j.err = err
		return err
	}
	j.size += int64(len(b))
	return nil
}

// AppendJSON appends v as one JSON record.
func (j *Journal) AppendJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return j.Append(b)
}

// Size returns the bytes of all records.
func (j *Journal) Size() int64 { return j.size }

// Release gives back the space that Reserve took and no record uses.
func (j *Journal) Release() error { return j.file.Truncate(j.size) }

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }

// WriteFile replaces the file at path so that a crash leaves either the old content or the new one: a temporary
// file beside it, fsync, rename, fsync of the directory.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp*")
	if err != nil {
		return err
	}
	name := tmp.Name()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(perm)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		_ = os.Remove(name) // a leftover is harmless and the first error matters
		return fmt.Errorf("write %s: %w", path, err)
	}
	return SyncDir(dir)
}
