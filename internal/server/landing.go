package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"

	"oakum.dev/internal/origin"

	_ "embed"
)

//go:embed landing.html
var landingHTML string

//go:embed landing.css
var landingCSS string

var landingPage = template.Must(template.New("landing").Parse(landingHTML))

// landingPolicy lets the page have its own style and nothing else: no script, no request to anywhere.
var landingPolicy = func() string {
	sum := sha256.Sum256([]byte(landingCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// landing is what a browser sees as long as there is no console. It tells nobody anything about nodes or keys, nor the
// reason of a freeze, which people write for each other.
func (s *Server) landing(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	base := s.baseURL(r)
	if !origin.Safe(base) { // it stands in commands that people copy
		http.Error(w, "the host name is not valid", http.StatusBadRequest)
		return
	}
	ownAuthority := s.signs(r)
	freezes, err := s.freezes(r.Context())
	if err != nil {
		s.log.Warn("the landing page does not know of freezes", "err", err)
	}
	var page bytes.Buffer
	err = landingPage.Execute(&page, map[string]any{
		"Version": s.cfg.Version, "Region": s.cfg.Region, "URL": base, "Install": s.installLine(base, ownAuthority),
		"OwnAuthority": ownAuthority, "Freezes": freezes,
		"Style": template.CSS(landingCSS), // our own file
	})
	if err != nil {
		s.log.Error("landing page", "err", err)
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", landingPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	if _, err := w.Write(page.Bytes()); err != nil {
		s.log.Debug("landing page", "err", err) // the browser has gone
	}
}
