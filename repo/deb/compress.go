package deb

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Extensions are the suffixes under which apt keeps lists, the plain form first.
var Extensions = []string{"", ".lz4", ".gz", ".xz", ".zst", ".bz2", ".lzma"}

// maxWindow bounds the memory that a compressed file can ask for.
const maxWindow = 128 << 20

// Decompress returns a reader of the plain bytes of r, by the file's extension. What comes out is limited to MaxFile.
func Decompress(r io.Reader, ext string) (io.ReadCloser, error) {
	out, closing := io.Reader(nil), func() {}
	var err error
	switch ext {
	case "":
		out = r
	case ".lz4":
		z := lz4.NewReader(r)
		out, err = z, z.Apply(lz4.ConcurrencyOption(1))
	case ".gz":
		out, err = gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
	case ".xz":
		out, err = xz.ReaderConfig{DictCap: 1 << 20}.NewReader(bufio.NewReaderSize(r, 64<<10))
	case ".lzma":
		out, err = lzma.ReaderConfig{DictCap: 1 << 20}.NewReader(bufio.NewReaderSize(r, 64<<10))
	case ".zst":
		var z *zstd.Decoder
		z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err == nil {
			out, closing = z, z.Close
		}
	case ".bz2":
		out = bzip2.NewReader(bufio.NewReaderSize(r, 64<<10))
	default:
		return nil, fmt.Errorf("unknown compression %q", ext)
	}
	if err != nil {
		return nil, err
	}
	return &limited{r: out, left: MaxFile, close: closing}, nil
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
