package bucket

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// ErrNoUpload is an upload in parts that was never begun, is over, or was begun for another key.
var ErrNoUpload = errors.New("no such upload")

var errPart = errors.New("part is missing or not the one that was sent")

// uploadLife is how long an upload in parts may take; a restart ends it sooner.
const uploadLife = 24 * time.Hour

const maxParts = 10_000

var uploadID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-f]{32}$`) })

type uploadInfo struct{ Account, Bucket, Key string }

func uploadDir(id string) string { return partDir + "/upload-" + id }

// Begin starts an upload in parts and returns its id. Uploads that nobody ended within a day are dropped.
func (s *Store) Begin(account, bucket, key string, now time.Time) (string, error) {
	if _, err := file(account, bucket, key); err != nil {
		return "", err
	}
	s.dropUploads(now)
	id := randomName()
	if err := s.root.Mkdir(uploadDir(id), 0o700); err != nil {
		return "", fmt.Errorf("begin upload: %w", err)
	}
	info, err := json.Marshal(uploadInfo{account, bucket, key})
	if err == nil {
		err = s.root.WriteFile(uploadDir(id)+"/info", info, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("begin upload: %w", err)
	}
	return id, nil
}

func (s *Store) dropUploads(now time.Time) {
	entries, err := fs.ReadDir(s.root.FS(), partDir)
	if err != nil {
		return // the next upload tries again
	}
	for _, e := range entries {
		if st, err := e.Info(); err == nil && e.IsDir() && now.Sub(st.ModTime()) > uploadLife {
			_ = s.root.RemoveAll(partDir + "/" + e.Name()) // the next upload tries again
		}
	}
}

func (s *Store) upload(account, bucket, key, id string) (dir string, err error) {
	if !uploadID().MatchString(id) {
		return "", ErrNoUpload
	}
	text, err := s.root.ReadFile(uploadDir(id) + "/info")
	var info uploadInfo
	if err != nil || json.Unmarshal(text, &info) != nil || info != (uploadInfo{account, bucket, key}) {
		return "", ErrNoUpload
	}
	return uploadDir(id), nil
}

// PutPart stores part n, from 1, of an upload and returns its ETag. A part that is sent again is replaced.
func (s *Store) PutPart(ctx context.Context, account, bucket, key, id string, n int, r io.Reader) (string, error) {
	dir, err := s.upload(account, bucket, key, id)
	if err != nil {
		return "", err
	}
	if n < 1 || n > maxParts {
		return "", errPart
	}
	part := dir + "/" + randomName()
	if err := s.write(ctx, part, r); err != nil {
		_ = s.root.Remove(part) // dropped with the upload at the latest
		return "", fmt.Errorf("write part: %w", err)
	}
	name := dir + "/" + strconv.Itoa(n)
	if err := s.root.Rename(part, name); err != nil {
		return "", fmt.Errorf("name part: %w", err)
	}
	st, err := s.root.Stat(name)
	if err != nil {
		return "", fmt.Errorf("stat part: %w", err)
	}
	return object(name, st).ETag, nil
}

// Part names one part of a finished upload.
type Part struct {
	PartNumber int
	ETag       string
}

// Finish makes the object of the parts, in their order, and ends the upload.
func (s *Store) Finish(ctx context.Context, account, bucket, key, id string, parts []Part, limit int64) (Object, error) {
	dir, err := s.upload(account, bucket, key, id)
	if err != nil {
		return Object{}, err
	}
	var readers []io.Reader
	var size int64
	for i, p := range parts {
		name := dir + "/" + strconv.Itoa(p.PartNumber)
		st, err := s.root.Stat(name)
		if err != nil || object(name, st).ETag != p.ETag || i > 0 && p.PartNumber <= parts[i-1].PartNumber {
			return Object{}, errPart
		}
		size += st.Size()
		readers = append(readers, &lazyFile{s: s, name: name})
	}
	if len(parts) == 0 {
		return Object{}, errPart
	}
	if size > limit {
		return Object{}, &http.MaxBytesError{Limit: limit}
	}
	o, err := s.Put(ctx, account, bucket, key, io.MultiReader(readers...))
	if err != nil {
		return Object{}, err
	}
	_ = s.root.RemoveAll(dir) // dropped a day later at the latest
	return o, nil
}

// Abort drops an upload and its parts.
func (s *Store) Abort(account, bucket, key, id string) error {
	dir, err := s.upload(account, bucket, key, id)
	if err != nil {
		return err
	}
	return s.root.RemoveAll(dir)
}

// lazyFile reads a file that it opens with the first read and closes with the last.
type lazyFile struct {
	s    *Store
	name string
	f    io.ReadCloser
}

// Read implements io.Reader.
func (l *lazyFile) Read(p []byte) (int, error) {
	if l.f == nil {
		f, err := l.s.root.Open(l.name)
		if err != nil {
			return 0, err
		}
		l.f = f
	}
	n, err := l.f.Read(p)
	if err != nil {
		_ = l.f.Close() // read only
	}
	return n, err
}

func (c *call) serveUpload(q url.Values) {
	id := q.Get("uploadId")
	switch {
	case c.r.Method == http.MethodPost && q.Has("uploads"):
		now := time.Now
		if c.Now != nil {
			now = c.Now
		}
		id, err := c.Store.Begin(c.p.Account, c.bucket, c.key, now())
		if err != nil {
			c.fail(err)
			return
		}
		c.xml(struct {
			XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
			Bucket, Key, UploadId string
		}{Bucket: c.bucket, Key: c.key, UploadId: id})
	case c.r.Method == http.MethodPut:
		n, err := strconv.Atoi(q.Get("partNumber"))
		if err != nil {
			c.fail(errPart)
			return
		}
		body, err := c.payload()
		if err != nil {
			c.fail(err)
			return
		}
		tag, err := c.Store.PutPart(c.r.Context(), c.p.Account, c.bucket, c.key, id, n, body)
		if err != nil {
			c.fail(err)
			return
		}
		c.w.Header().Set("Etag", tag)
		c.w.WriteHeader(http.StatusOK)
	case c.r.Method == http.MethodPost:
		c.finish(id)
	case c.r.Method == http.MethodDelete:
		if err := c.Store.Abort(c.p.Account, c.bucket, c.key, id); err != nil {
			c.fail(err)
			return
		}
		c.w.WriteHeader(http.StatusNoContent)
	default:
		c.error("MethodNotAllowed", "The specified method is not allowed against this resource.", http.StatusMethodNotAllowed)
	}
}

func (c *call) finish(id string) {
	text, err := io.ReadAll(io.LimitReader(c.r.Body, 4<<20)) // 10,000 parts need less
	if err != nil {
		c.fail(err)
		return
	}
	var in struct{ Part []Part }
	if xml.Unmarshal(text, &in) != nil {
		c.error("MalformedXML", "The XML you provided was not well-formed", http.StatusBadRequest)
		return
	}
	o, err := c.Store.Finish(c.r.Context(), c.p.Account, c.bucket, c.key, id, in.Part, c.limit())
	if err != nil {
		c.fail(err)
		return
	}
	c.xml(struct {
		XMLName           xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
		Bucket, Key, ETag string
	}{Bucket: c.bucket, Key: c.key, ETag: o.ETag})
}
