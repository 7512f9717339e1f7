package bucket

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"oakum.dev/arn"
	"oakum.dev/iam"
	"oakum.dev/wire/sigv4"
)

// Handler serves a Store as S3: put, get, head, list, delete of objects, path-style and virtual-hosted.
// It stands behind a front that has verified the signature and put the principal into the context.
// Administrators may do everything in their account and readers read; a managed node may write and read
// keys that have its id as a folder, and nothing else.
type Handler struct {
	Store *Store
	// Hosts are the names, without port, under which the server is reached: BUCKET.NAME is virtual-hosted.
	// localhost and IP addresses are known without being listed.
	Hosts []string
	// MaxObject bounds one object, 5 GiB if 0.
	MaxObject int64
	Log       *slog.Logger
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

const maxObject = 5 << 30

type call struct {
	*Handler
	w           http.ResponseWriter
	r           *http.Request
	p           iam.Principal
	bucket, key string
}

// ServeHTTP serves one S3 request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Handler: h, w: w, r: r, p: iam.PrincipalFrom(r.Context())}
	var err error
	if c.bucket, c.key, err = h.Locate(r); err != nil {
		c.fail(ErrBadName)
		return
	}
	if !c.allowed() {
		c.error("AccessDenied", "Access Denied", http.StatusForbidden)
		return
	}
	q := r.URL.Query()
	switch {
	case c.bucket == "":
		c.listBuckets()
	case c.key == "":
		c.serveBucket(q)
	default:
		c.serveObject(q)
	}
}

// Locate returns the bucket and key that a request addresses, by path or by host name.
func (h *Handler) Locate(r *http.Request) (bucket, key string, err error) {
	m := sigv4.FromRequest(r)
	p, err := url.PathUnescape(strings.TrimPrefix(m.Path, "/"))
	if err != nil {
		return "", "", err
	}
	if b := h.hosted(m.Host); b != "" {
		return b, p, nil
	}
	bucket, key, _ = strings.Cut(p, "/")
	return bucket, key, nil
}

// hosted returns the bucket in a host name, "" for path-style.
func (h *Handler) hosted(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(host)
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return ""
	}
	for _, base := range h.Hosts {
		if base = strings.ToLower(base); host == base {
			return ""
		} else if b, ok := strings.CutSuffix(host, "."+base); ok {
			return b
		}
	}
	if b, ok := strings.CutSuffix(host, ".localhost"); ok {
		return b
	}
	labels := strings.Split(host, ".") // BUCKET.127.0.0.1
	if n := len(labels); n > 4 && net.ParseIP(strings.Join(labels[n-4:], ".")) != nil {
		return strings.Join(labels[:n-4], ".")
	}
	return ""
}

func (c *call) allowed() bool {
	read := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	switch c.p.Kind {
	case iam.Administrator:
		return true
	case iam.ReadOnly:
		return read
	case iam.Node:
		own := func(s string) bool { return strings.Contains("/"+s, "/"+c.p.NodeID+"/") }
		switch {
		case c.p.NodeID == "" || c.bucket == "":
			return false
		case c.key != "":
			upload := c.r.URL.Query().Has("uploads") || c.r.URL.Query().Has("uploadId")
			if read && !upload {
				return !othersKey(c.key, c.p.NodeID)
			}
			return own(c.key) && (c.r.Method == http.MethodPut || upload)
		case c.r.Method == http.MethodHead:
			return true // the agent asks for the bucket's region before every upload
		}
		q := c.r.URL.Query()
		return c.r.Method == http.MethodGet && (q.Has("encryption") || q.Has("location") || own(q.Get("prefix")))
	}
	return false
}

// othersKey reports whether a key has the folder of another managed node in it: what one node uploads, no other
// one reads. Other objects, such as lists that a document names, are for every node of the account.
func othersKey(key, nodeID string) bool {
	for part := range strings.SplitSeq(key, "/") {
		if arn.IsNodeID(part) && part != nodeID {
			return true
		}
	}
	return false
}

func (c *call) region() { c.w.Header().Set("X-Amz-Bucket-Region", c.p.Region) }

func (c *call) serveBucket(q url.Values) {
	c.region()
	if !Valid(c.bucket) {
		c.error("InvalidBucketName", "The specified bucket is not valid.", http.StatusBadRequest)
		return
	}
	switch c.r.Method {
	case http.MethodHead:
		// A bucket comes into being with its first object, so that a node may ask before it exists.
		if c.p.Kind != iam.Node && !c.Store.Exists(c.p.Account, c.bucket) {
			c.fail(ErrNoBucket)
			return
		}
		c.w.WriteHeader(http.StatusOK)
	case http.MethodPut:
		if err := c.Store.Create(c.p.Account, c.bucket); err != nil {
			c.fail(err)
			return
		}
		c.w.Header().Set("Location", "/"+c.bucket)
		c.w.WriteHeader(http.StatusOK)
	case http.MethodGet:
		switch {
		case q.Has("encryption"):
			c.error("ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found", http.StatusNotFound)
		case q.Has("location"):
			c.xml(struct {
				XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
				Region  string   `xml:",chardata"`
			}{Region: c.p.Region})
		default:
			c.list(q)
		}
	default:
		c.error("MethodNotAllowed", "The specified method is not allowed against this resource.", http.StatusMethodNotAllowed)
	}
}

func (c *call) serveObject(q url.Values) {
	if q.Has("uploads") || q.Has("uploadId") {
		c.serveUpload(q)
		return
	}
	for _, sub := range []string{"acl", "tagging", "policy", "retention", "torrent"} {
		if q.Has(sub) {
			c.error("NotImplemented", "A parameter you provided implies functionality that is not implemented: "+sub, http.StatusNotImplemented)
			return
		}
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		c.get()
	case http.MethodPut:
		c.put()
	case http.MethodDelete:
		if err := c.Store.Delete(c.p.Account, c.bucket, c.key); err != nil {
			c.fail(err)
			return
		}
		c.w.WriteHeader(http.StatusNoContent)
	default:
		c.error("MethodNotAllowed", "The specified method is not allowed against this resource.", http.StatusMethodNotAllowed)
	}
}

func (c *call) get() {
	f, o, err := c.Store.Get(c.p.Account, c.bucket, c.key)
	if err != nil {
		c.fail(err)
		return
	}
	defer func() { _ = f.Close() }() // read only
	h := c.w.Header()
	h.Set("Etag", o.ETag)
	h.Set("Content-Type", contentType(c.key))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Disposition", "attachment")
	http.ServeContent(c.w, c.r, "", o.Modified, f)
}

// contentType guesses from the name; nothing that a browser would run.
func contentType(key string) string {
	switch t := mime.TypeByExtension(path.Ext(key)); strings.SplitN(t, ";", 2)[0] {
	case "application/json", "text/csv", "text/plain", "application/gzip", "application/zip":
		return t
	}
	return "application/octet-stream"
}

func (c *call) put() {
	if c.r.Header.Get("X-Amz-Copy-Source") != "" {
		c.error("NotImplemented", "Copying objects is not implemented.", http.StatusNotImplemented)
		return
	}
	body, err := c.payload()
	if err != nil {
		c.fail(err)
		return
	}
	o, err := c.Store.Put(c.r.Context(), c.p.Account, c.bucket, c.key, body)
	if err != nil {
		c.fail(err)
		return
	}
	c.w.Header().Set("Etag", o.ETag)
	c.w.WriteHeader(http.StatusOK)
}

func (c *call) limit() int64 {
	if c.MaxObject == 0 {
		return maxObject
	}
	return c.MaxObject
}

// payload returns the decoded body, which ends with an error when it is longer than an object may be.
func (c *call) payload() (io.Reader, error) {
	body, err := newPayload(c.r)
	if err != nil {
		return nil, err
	}
	if body.length > c.limit() {
		return nil, &http.MaxBytesError{Limit: c.limit()}
	}
	return http.MaxBytesReader(nil, readCloser{body}, c.limit()), nil
}

type readCloser struct{ *payload }

func (readCloser) Close() error { return nil }

type listResult struct {
	XMLName               xml.Name  `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string    `xml:"Name"`
	Prefix                string    `xml:"Prefix"`
	Delimiter             string    `xml:"Delimiter,omitempty"`
	EncodingType          string    `xml:"EncodingType,omitempty"`
	KeyCount              int       `xml:"KeyCount"`
	MaxKeys               int       `xml:"MaxKeys"`
	IsTruncated           bool      `xml:"IsTruncated"`
	NextContinuationToken string    `xml:"NextContinuationToken,omitempty"`
	Contents              []content `xml:"Contents"`
	CommonPrefixes        []prefix  `xml:"CommonPrefixes"`
}

type content struct {
	Key          string `xml:"Key"`
	LastModified string `xml:"LastModified"`
	ETag         string `xml:"ETag"`
	Size         int64  `xml:"Size"`
	StorageClass string `xml:"StorageClass"`
}

type prefix struct {
	Prefix string `xml:"Prefix"`
}

func (c *call) list(q url.Values) {
	maxKeys := 1000
	if v := q.Get("max-keys"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			c.error("InvalidArgument", "max-keys is not a number", http.StatusBadRequest)
			return
		}
		maxKeys = min(n, maxKeys)
	}
	after := q.Get("start-after")
	if t := q.Get("continuation-token"); t != "" {
		b, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			c.error("InvalidArgument", "The continuation token provided is incorrect", http.StatusBadRequest)
			return
		}
		after = string(b)
	}
	res := listResult{Name: c.bucket, Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"), EncodingType: q.Get("encoding-type"), MaxKeys: maxKeys}
	name := func(s string) string {
		if res.EncodingType == "url" {
			return strings.ReplaceAll(url.PathEscape(s), "%2F", "/")
		}
		return s
	}
	for maxKeys > 0 {
		// One page more than is answered tells whether there is more; a folded prefix is skipped whole.
		objects, more, err := c.Store.List(c.p.Account, c.bucket, res.Prefix, after, maxKeys+1)
		if err != nil {
			c.fail(err)
			return
		}
		for _, o := range objects {
			if o.Key <= after {
				continue // folded below
			}
			if res.KeyCount == maxKeys {
				res.IsTruncated = true
				break
			}
			res.KeyCount++
			if i := strings.Index(o.Key[len(res.Prefix):], res.Delimiter); res.Delimiter != "" && i >= 0 {
				p := o.Key[:len(res.Prefix)+i+len(res.Delimiter)]
				res.CommonPrefixes = append(res.CommonPrefixes, prefix{name(p)})
				after = p + "\U0010ffff"
				continue
			}
			after = o.Key
			res.Contents = append(res.Contents, content{name(o.Key), o.Modified.Format("2006-01-02T15:04:05.000Z"), o.ETag, o.Size, "STANDARD"})
		}
		if !more || res.IsTruncated {
			break
		}
	}
	if res.IsTruncated {
		res.NextContinuationToken = base64.RawURLEncoding.EncodeToString([]byte(after))
	}
	res.Prefix = name(res.Prefix)
	c.xml(res)
}

func (c *call) listBuckets() {
	if c.r.Method != http.MethodGet {
		c.error("MethodNotAllowed", "The specified method is not allowed against this resource.", http.StatusMethodNotAllowed)
		return
	}
	names, err := c.Store.Buckets(c.p.Account)
	if err != nil {
		c.fail(err)
		return
	}
	type bucket struct {
		Name         string
		CreationDate string
	}
	res := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
		Owner   struct{ ID string }
		Buckets struct{ Bucket []bucket }
	}{}
	res.Owner.ID = c.p.Account
	for _, n := range names {
		res.Buckets.Bucket = append(res.Buckets.Bucket, bucket{n, time.Unix(0, 0).UTC().Format(time.RFC3339)})
	}
	c.xml(res)
}

func (c *call) xml(v any) {
	b, err := xml.Marshal(v)
	if err != nil {
		c.fail(err)
		return
	}
	c.w.Header().Set("Content-Type", "application/xml")
	c.w.Header().Set("Content-Length", strconv.Itoa(len(xml.Header)+len(b)))
	_, _ = c.w.Write(append([]byte(xml.Header), b...)) // a client that left is not an error
}

func (c *call) fail(err error) {
	var tooLong *http.MaxBytesError
	switch {
	case errors.Is(err, ErrNoBucket):
		c.error("NoSuchBucket", "The specified bucket does not exist", http.StatusNotFound)
	case errors.Is(err, ErrNoKey):
		c.error("NoSuchKey", "The specified key does not exist.", http.StatusNotFound)
	case errors.Is(err, ErrBadName):
		c.error("InvalidArgument", "The bucket name or key cannot be a folder or file here.", http.StatusBadRequest)
	case errors.Is(err, ErrConflict):
		c.error("OperationAborted", "The key is the folder of other keys, or below another key.", http.StatusConflict)
	case errors.Is(err, sigv4.ErrPayloadHash):
		c.error("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.", http.StatusBadRequest)
	case errors.Is(err, errDigest):
		c.error("BadDigest", "The checksum you specified did not match what we received.", http.StatusBadRequest)
	case errors.Is(err, ErrNoUpload):
		c.error("NoSuchUpload", "The specified multipart upload does not exist.", http.StatusNotFound)
	case errors.Is(err, errPart):
		c.error("InvalidPart", "One or more of the specified parts could not be found.", http.StatusBadRequest)
	case errors.Is(err, errChunk), errors.Is(err, io.ErrUnexpectedEOF):
		c.error("IncompleteBody", "The request body is not what its headers announce.", http.StatusBadRequest)
	case errors.As(err, &tooLong):
		c.error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", http.StatusBadRequest)
	case c.r.Context().Err() != nil:
		// The client left; there is nobody to answer.
	default:
		if c.Log != nil {
			c.Log.LogAttrs(c.r.Context(), slog.LevelError, "bucket fault", slog.String("request_id", c.w.Header().Get("X-Amzn-Requestid")), slog.Any("err", err))
		}
		c.error("InternalError", "We encountered an internal error. Please try again.", http.StatusInternalServerError)
	}
}

func (c *call) error(code, message string, status int) {
	WriteError(c.w, c.r, code, message, status, c.w.Header().Get("X-Amzn-Requestid"))
}

// codes are S3's names and statuses for the refusals of the front.
var codes = map[string]struct {
	code   string
	status int
}{
	"MissingAuthenticationTokenException": {"AccessDenied", http.StatusForbidden},
	"IncompleteSignatureException":        {"AuthorizationHeaderMalformed", http.StatusBadRequest},
	"UnrecognizedClientException":         {"InvalidAccessKeyId", http.StatusForbidden},
	"ExpiredTokenException":               {"ExpiredToken", http.StatusBadRequest},
	"InvalidSignatureException":           {"SignatureDoesNotMatch", http.StatusForbidden},
	"RequestTimeTooSkewed":                {"RequestTimeTooSkewed", http.StatusForbidden},
	"ThrottlingException":                 {"SlowDown", http.StatusServiceUnavailable},
	"ServiceUnavailableException":         {"ServiceUnavailable", http.StatusServiceUnavailable},
	"InternalServerError":                 {"InternalError", http.StatusInternalServerError},
}

// WriteError answers an error as S3 does. Codes of JSON services become S3's own.
func WriteError(w http.ResponseWriter, r *http.Request, code, message string, status int, requestID string) {
	if c, ok := codes[code]; ok {
		code, status = c.code, c.status
	}
	b, err := xml.Marshal(struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		Resource  string
		RequestID string `xml:"RequestId"`
	}{Code: code, Message: message, Resource: r.URL.Path, RequestID: requestID})
	if err != nil { // strings always marshal
		b = nil
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Amz-Request-Id", requestID)
	w.Header().Set("Content-Length", strconv.Itoa(len(xml.Header)+len(b)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(append([]byte(xml.Header), b...)) // a client that left is not an error
	}
}
