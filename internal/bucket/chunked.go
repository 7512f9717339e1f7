package bucket

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// errChunk is a body that is not in aws-chunked form; errDigest one that is not what its checksum says.
var (
	errChunk  = errors.New("body is not aws-chunked")
	errDigest = errors.New("body does not have the given checksum")
)

// maxLine is the longest chunk or trailer line.
const maxLine = 8 << 10

// chunkReader undoes the aws-chunked encoding: HEX-SIZE[;EXTENSION]CRLF DATA CRLF ... 0 CRLF TRAILERS CRLF.
type chunkReader struct {
	r       *bufio.Reader
	left    int64
	started bool
	done    bool
	trailer http.Header
}

func newChunkReader(r io.Reader) *chunkReader {
	return &chunkReader{r: bufio.NewReaderSize(r, maxLine), trailer: http.Header{}}
}

func (c *chunkReader) line() (string, error) {
	line, err := c.r.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		return "", io.ErrUnexpectedEOF
	case errors.Is(err, bufio.ErrBufferFull):
		return "", errChunk
	case err != nil:
		return "", err
	}
	return string(bytes.TrimRight(line, "\r\n")), nil
}

// Read returns the decoded data.
func (c *chunkReader) Read(p []byte) (int, error) {
	if c.done {
		return 0, io.EOF
	}
	if c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
		if c.done {
			return 0, io.EOF
		}
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *chunkReader) next() error {
	if c.started {
		if end, err := c.line(); err != nil {
			return err
		} else if end != "" {
			return errChunk
		}
	}
	c.started = true
	head, err := c.line()
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(head, ";")
	n, err := strconv.ParseInt(strings.TrimSpace(size), 16, 63)
	if err != nil || n < 0 {
		return errChunk
	}
	if c.left = n; n > 0 {
		return nil
	}
	for range 32 {
		line, err := c.line()
		if errors.Is(err, io.ErrUnexpectedEOF) { // some writers leave the last empty line out
			line, err = "", nil
		}
		if err != nil {
			return err
		}
		if line == "" {
			c.done = true
			_, err := io.Copy(io.Discard, c.r) // so that a hash over the body sees all of it
			return err
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return errChunk
		}
		c.trailer.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return errChunk
}

// crc64NVME is the polynomial of x-amz-checksum-crc64nvme.
var crc64NVME = crc64.MakeTable(0x9a6c9329ac4bc9b5)

var digests = map[string]func() hash.Hash{
	"Content-Md5":              md5.New,
	"X-Amz-Checksum-Crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"X-Amz-Checksum-Crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"X-Amz-Checksum-Crc64nvme": func() hash.Hash { return crc64.New(crc64NVME) },
	"X-Amz-Checksum-Sha1":      sha1.New,
	"X-Amz-Checksum-Sha256":    sha256.New,
}

// payload is the body of an upload, decoded; reading ends with errDigest if a checksum that came with it,
// before or behind, is not the data's, and with errChunk if the length is not the announced one.
type payload struct {
	r      io.Reader
	chunks *chunkReader
	length int64 // announced, -1 if not
	got    int64
	want   map[string]string
	sums   map[string]hash.Hash
}

func newPayload(r *http.Request) (*payload, error) {
	p := &payload{r: r.Body, length: r.ContentLength, want: map[string]string{}, sums: map[string]hash.Hash{}}
	streaming := strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-")
	if streaming || strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") {
		p.chunks = newChunkReader(r.Body)
		p.r = p.chunks
		n, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%w: X-Amz-Decoded-Content-Length is missing", errChunk)
		}
		p.length = n
	}
	for name, sum := range digests {
		if v := r.Header.Get(name); v != "" {
			p.want[name], p.sums[name] = v, sum()
		}
	}
	for name := range strings.SplitSeq(r.Header.Get("X-Amz-Trailer"), ",") {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if sum := digests[name]; sum != nil {
			p.sums[name] = sum()
		}
	}
	return p, nil
}

// Read returns the decoded data.
func (p *payload) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.got += int64(n)
	for _, s := range p.sums {
		s.Write(b[:n])
	}
	if p.length >= 0 && p.got > p.length {
		return n, errChunk
	}
	if errors.Is(err, io.EOF) {
		if bad := p.check(); bad != nil {
			return n, bad
		}
	}
	return n, err
}

func (p *payload) check() error {
	if p.length >= 0 && p.got != p.length {
		return errChunk
	}
	for name, s := range p.sums {
		want := p.want[name]
		if want == "" && p.chunks != nil {
			want = p.chunks.trailer.Get(name)
		}
		if want != base64.StdEncoding.EncodeToString(s.Sum(nil)) {
			return fmt.Errorf("%w: %s", errDigest, name)
		}
	}
	return nil
}
