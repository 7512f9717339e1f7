// Package compress opens the compressed files of package repositories and images, by extension or by their first
// bytes, and bounds what comes out of them. Start with Reader.
package compress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Extensions are the suffixes that Reader knows, the plain form first.
var Extensions = []string{"", ".lz4", ".gz", ".xz", ".zst", ".bz2", ".lzma"}

// ErrTooLarge says that an input goes beyond its limit.
var ErrTooLarge = errors.New("larger than allowed")

const (
	maxWindow = 128 << 20 // bounds the memory that a zstd file can ask for
	dictCap   = 1 << 20
	buffer    = 64 << 10
)

// magics are the first bytes by which Sniff knows a format. A file that has none of them is plain.
var magics = []struct{ ext, magic string }{
	{".gz", "\x1f\x8b"},
	{".bz2", "BZh"},
	{".xz", "\xfd7zXZ\x00"},
	{".zst", "\x28\xb5\x2f\xfd"},
	{".lz4", "\x04\x22\x4d\x18"},
	{".zck", zchunkMagic},
}

// Reader returns a reader of the plain bytes of r, by the file's extension. What comes out is limited to limit bytes;
// then the reader fails with ErrTooLarge. Closing it does not close r.
func Reader(r io.Reader, ext string, limit int64) (io.ReadCloser, error) {
	out, closing := io.Reader(nil), func() {}
	var err error
	switch ext {
	case "":
		out = r
	case ".lz4":
		z := lz4.NewReader(r)
		out, err = z, z.Apply(lz4.ConcurrencyOption(1))
	case ".gz":
		out, err = gzip.NewReader(buffered(r))
	case ".xz":
		out, err = xz.ReaderConfig{DictCap: dictCap}.NewReader(buffered(r))
	case ".lzma":
		out, err = lzma.ReaderConfig{DictCap: dictCap}.NewReader(buffered(r))
	case ".zst":
		var z *zstd.Decoder
		z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err == nil {
			out, closing = z, z.Close
		}
	case ".zck":
		var z *zchunk
		if z, err = newZchunk(buffered(r)); err == nil {
			out, closing = z, z.close
		}
	case ".bz2":
		out = bzip2.NewReader(buffered(r))
	default:
		return nil, fmt.Errorf("unknown compression %q", ext)
	}
	if err != nil {
		return nil, err
	}
	return &limited{r: out, left: limit, close: closing}, nil
}

// Sniff is Reader by the first bytes of r instead of an extension: repositories and images mislabel files.
// lzma has no magic bytes and is not recognized.
func Sniff(r io.Reader, limit int64) (io.ReadCloser, error) {
	b := buffered(r)
	head, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return Reader(b, extension(head), limit)
}

func extension(head []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.ext
		}
	}
	return ""
}

func buffered(r io.Reader) *bufio.Reader {
	if b, ok := r.(*bufio.Reader); ok {
		return b
	}
	return bufio.NewReaderSize(r, buffer)
}

// limited ends a stream that grows beyond its limit with ErrTooLarge.
type limited struct {
	r     io.Reader
	left  int64
	close func()
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	return n, err
}

func (l *limited) Close() error {
	l.close()
	return nil
}
