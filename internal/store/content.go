package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// maxContentBytes bounds what a stored blob may unpack to.
const maxContentBytes = 64 << 20

type blob struct {
	codec string
	data  []byte
	size  int64
}

func (b *blob) fields() []any { return []any{&b.codec, &b.data, &b.size} }

var encoderPool = sync.Pool{New: func() any {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // only a wrong option fails
	}
	return e
}}

var decoderPool = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxContentBytes), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err) // only a wrong option fails
	}
	return d
}}

// Compress packs data as the store keeps it.
func Compress(data []byte) []byte {
	e := encoderPool.Get().(*zstd.Encoder)
	defer encoderPool.Put(e)
	return e.EncodeAll(data, nil)
}

// Decompress unpacks what Compress or a node packed; more than 64 MiB is an error.
func Decompress(data []byte) ([]byte, error) {
	d := decoderPool.Get().(*zstd.Decoder)
	defer decoderPool.Put(d)
	out, err := d.DecodeAll(data, nil)
	if err != nil {
		return nil, fmt.Errorf("unpack content: %w", err)
	}
	if len(out) > maxContentBytes {
		return nil, fmt.Errorf("unpack content: %w", io.ErrShortBuffer)
	}
	return out, nil
}

// Hash is the content address of data: SHA-256 in hex.
func Hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// PutContent stores data once per account under its hash and returns the hash.
func (tx *Tx) PutContent(account string, data []byte) (string, error) {
	hash := Hash(data)
	codec, packed := "raw", data
	if len(data) > 128 {
		if z := Compress(data); len(z) < len(data) {
			codec, packed = "zstd", z
		}
	}
	_, err := tx.exec(`INSERT INTO content (account, hash, codec, data, size, stored_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account, hash) DO UPDATE SET stored_at = excluded.stored_at`, account, hash, codec, packed, len(data), at(tx.now))
	return hash, err
}

// HasContent reports whether the account holds the blob, and keeps it from being swept for another day.
func (tx *Tx) HasContent(account, hash string) (bool, error) {
	n, err := tx.exec(`UPDATE content SET stored_at = $1 WHERE account = $2 AND hash = $3`, at(tx.now), account, hash)
	return n == 1, err
}

// Content reads a blob, or ErrNotFound.
func (tx *Tx) Content(account, hash string) ([]byte, error) {
	b, err := one[blob](tx, `SELECT codec, data, size FROM content WHERE account = $1 AND hash = $2`, account, hash)
	if err != nil {
		return nil, err
	}
	if b.codec == "raw" {
		return b.data, nil
	}
	return Decompress(b.data)
}

// SweepContent removes blobs that nothing refers to and that were stored before the given time, at most limit.
// It reads whole tables and so belongs into a background job. A blob that is referred to again meanwhile has a new
// stored_at and stays.
func (tx *Tx) SweepContent(before time.Time, limit int) (int64, error) {
	return tx.exec(`DELETE FROM content WHERE stored_at < $1 AND (account, hash) IN (
		SELECT account, hash FROM content WHERE stored_at < $1
		EXCEPT SELECT account, result_hash FROM node_state EXCEPT SELECT account, available_hash FROM node_state
		EXCEPT SELECT account, result_hash FROM scan_history EXCEPT SELECT account, content_hash FROM inventory_item
		EXCEPT SELECT account, content_hash FROM compliance_set EXCEPT SELECT account, payload_hash FROM command
		EXCEPT SELECT account, content_hash FROM document_version LIMIT $2)`, at(before), limit)
}
