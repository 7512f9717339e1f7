package compress

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zchunkMagic starts a file of zchunk: a header that lists chunks, and the chunks, each compressed alone. What is in the
// header is checked against its sum, and each chunk against its own. Source: the zchunk file format specification.
const zchunkMagic = "\x00ZCK1"

const (
	maxZchunkHeader = 64 << 20 // bytes; real ones have about 50 a chunk of 32 KiB
	maxZchunkPart   = 64 << 20 // bytes of one chunk, before and after
)

// zchunk reads the chunks one after the other.
type zchunk struct {
	r      io.Reader
	sum    func() hash.Hash
	cut    int // bytes of a chunk's sum
	chunks []chunk
	plain  bool // chunks are not compressed
	z      *zstd.Decoder
	in     []byte
	out    []byte // of the current chunk
	rest   []byte // of out
}

type chunk struct {
	sum        []byte
	bytes, out int64
}

// sums are zchunk's checksum types, and how many bytes of one are kept.
var sums = map[int64]struct {
	make func() hash.Hash
	size int
}{
	0: {sha1.New, sha1.Size}, 1: {sha256.New, sha256.Size}, 2: {sha512.New, sha512.Size}, 3: {sha512.New, 16},
}

// header reads fields of a zchunk header; the first error stays.
type header struct {
	r   io.ByteReader
	b   *bytes.Reader
	err error
}

var errZchunk = errors.New("zchunk: damaged header")

// number reads 7 bits a byte, the lowest first; the last byte has its highest bit set.
func (h *header) number() int64 {
	var n int64
	for shift := 0; h.err == nil && shift < 56; shift += 7 {
		c, err := h.r.ReadByte()
		if err != nil {
			h.err = fmt.Errorf("zchunk: %w", noEOF(err))
			return 0
		}
		n |= int64(c&0x7f) << shift
		if c&0x80 != 0 {
			return n
		}
	}
	if h.err == nil {
		h.err = errZchunk
	}
	return 0
}

func (h *header) take(n int64) []byte {
	if h.err == nil && n > int64(h.b.Len()) {
		h.err = errZchunk
	}
	if h.err != nil {
		return nil
	}
	out := make([]byte, n)
	_, h.err = io.ReadFull(h.b, out)
	return out
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func newZchunk(r *bufio.Reader) (*zchunk, error) {
	var all bytes.Buffer // of the header, for its sum
	if _, err := io.CopyN(&all, r, int64(len(zchunkMagic))); err != nil || all.String() != zchunkMagic {
		return nil, errZchunk
	}
	lead := &header{r: recorder{r, &all}}
	kind, size := lead.number(), lead.number()
	k, known := sums[kind]
	switch {
	case lead.err != nil:
		return nil, lead.err
	case !known:
		return nil, fmt.Errorf("zchunk: unknown checksum type %d", kind)
	case size > maxZchunkHeader:
		return nil, fmt.Errorf("zchunk: header of %d bytes: %w", size, ErrTooLarge)
	}
	want := make([]byte, k.size)
	if _, err := io.ReadFull(r, want); err != nil {
		return nil, fmt.Errorf("zchunk: %w", noEOF(err))
	}
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, size); err != nil {
		return nil, fmt.Errorf("zchunk: %w", noEOF(err))
	}
	all.Write(body.Bytes())
	s := k.make()
	s.Write(all.Bytes())
	if !bytes.Equal(s.Sum(nil)[:k.size], want) {
		return nil, errors.New("zchunk: the header's checksum is wrong")
	}
	b := bytes.NewReader(body.Bytes())
	return readIndex(&header{r: b, b: b}, r, k.size)
}

// recorder keeps what was read.
type recorder struct {
	r   *bufio.Reader
	all *bytes.Buffer
}

func (r recorder) ReadByte() (byte, error) {
	c, err := r.r.ReadByte()
	if err == nil {
		r.all.WriteByte(c)
	}
	return c, err
}

// Flags of a zchunk file.
const (
	flagStreams  = 1 << iota // each chunk belongs to a stream
	flagOptional             // optional elements follow
	flagPlainSum             // chunks also have sums of what is in them
)

func readIndex(h *header, r io.Reader, sum int) (*zchunk, error) {
	h.take(int64(sum)) // of all chunks together
	flags := h.number()
	if h.err == nil && flags&^(flagStreams|flagOptional|flagPlainSum) != 0 {
		return nil, fmt.Errorf("zchunk: unknown flags %#x", flags)
	}
	compression := h.number()
	if flags&flagOptional != 0 {
		for n := h.number(); n > 0 && h.err == nil; n-- {
			h.number()
			h.take(h.number())
		}
	}
	h.number() // size of the index
	k, known := sums[h.number()]
	count := h.number()
	switch {
	case h.err != nil:
		return nil, h.err
	case !known:
		return nil, errors.New("zchunk: unknown checksum type of its chunks")
	case compression != 0 && compression != 2:
		return nil, fmt.Errorf("zchunk: unknown compression %d", compression)
	case count < 1 || count > int64(h.b.Len()):
		return nil, errZchunk
	}
	z := &zchunk{r: r, sum: k.make, cut: k.size, plain: compression == 0}
	for range count {
		if flags&flagStreams != 0 {
			h.number()
		}
		c := chunk{sum: h.take(int64(k.size))}
		if flags&flagPlainSum != 0 {
			h.take(int64(k.size))
		}
		c.bytes, c.out = h.number(), h.number()
		if h.err != nil {
			return nil, h.err
		}
		if c.bytes > maxZchunkPart || c.out > maxZchunkPart {
			return nil, fmt.Errorf("zchunk: a chunk: %w", ErrTooLarge)
		}
		z.chunks = append(z.chunks, c)
	}
	return z, z.start()
}

// start reads the first chunk, the dictionary of the others.
func (z *zchunk) start() error {
	if !z.plain {
		if err := z.decoder(); err != nil {
			return err
		}
	}
	if err := z.next(); err != nil {
		z.close()
		return err
	}
	dict := bytes.Clone(z.out)
	z.rest = nil
	if len(dict) == 0 || z.plain {
		return nil
	}
	z.z.Close()
	if bytes.HasPrefix(dict, []byte("\x37\xa4\x30\xec")) {
		return z.decoder(zstd.WithDecoderDicts(dict))
	}
	return z.decoder(zstd.WithDecoderDictRaw(0, dict))
}

func (z *zchunk) decoder(opts ...zstd.DOption) error {
	d, err := zstd.NewReader(nil, append(opts, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxZchunkPart))...)
	if err != nil {
		return fmt.Errorf("zchunk: %w", err)
	}
	z.z = d
	return nil
}

func (z *zchunk) close() {
	if z.z != nil {
		z.z.Close()
	}
}

// next opens the next chunk.
func (z *zchunk) next() error {
	c := z.chunks[0]
	z.chunks = z.chunks[1:]
	z.out, z.rest = z.out[:0], nil
	if c.bytes == 0 && c.out == 0 {
		return nil
	}
	if int64(cap(z.in)) < c.bytes {
		z.in = make([]byte, c.bytes)
	}
	z.in = z.in[:c.bytes]
	if _, err := io.ReadFull(z.r, z.in); err != nil {
		return fmt.Errorf("zchunk: %w", noEOF(err))
	}
	s := z.sum()
	s.Write(z.in)
	if !bytes.Equal(s.Sum(nil)[:z.cut], c.sum) {
		return errors.New("zchunk: a chunk's checksum is wrong")
	}
	if z.plain {
		z.out = append(z.out, z.in...)
	} else {
		var err error
		if z.out, err = z.z.DecodeAll(z.in, z.out); err != nil {
			return fmt.Errorf("zchunk: %w", err)
		}
	}
	if int64(len(z.out)) != c.out {
		return fmt.Errorf("zchunk: a chunk has %d bytes, its index says %d", len(z.out), c.out)
	}
	z.rest = z.out
	return nil
}

func (z *zchunk) Read(p []byte) (int, error) {
	for len(z.rest) == 0 {
		if len(z.chunks) == 0 {
			return 0, io.EOF
		}
		if err := z.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}
