package server_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"oakum.dev/internal/server"
)

// landingServer serves http and https with its own authority, and believes a proxy on loopback.
func landingServer(t *testing.T, proxies ...string) (plain, secure string) {
	t.Helper()
	srv, err := server.New(t.Context(), server.Config{
		DataDir: t.TempDir(), Listen: []string{"http://127.0.0.1:0", "https://127.0.0.1:0"}, Region: "eu-west-1", Version: "9.8.7", BehindProxy: proxies,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		try(t, <-done)
	})
	return srv.Addresses()[0], srv.Addresses()[1]
}

func getPage(t *testing.T, url string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the page is what is looked at
	defer tr.CloseIdleConnections()
	req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/", nil))
	if change != nil {
		change(req)
	}
	resp := must[*http.Response](t)(tr.RoundTrip(req))
	defer resp.Body.Close()
	return resp, string(must[[]byte](t)(io.ReadAll(resp.Body)))
}

func TestLandingPageSaysHowToGoOn(t *testing.T) {
	t.Parallel()
	plain, secure := landingServer(t)
	for _, base := range []string{plain, secure} {
		resp, page := getPage(t, base, nil)
		own := strings.HasPrefix(base, "https://")
		for _, part := range []string{"9.8.7", "no web console", "AWS_REGION=eu-west-1 AWS_ENDPOINT_URL=" + base + "\n", base + "/install.sh | sudo sh -s -- ACTIVATION-ID ACTIVATION-CODE eu-west-1", "README.md"} {
			if !strings.Contains(page, part) {
				t.Errorf("%s: the page lacks %q", base, part)
			}
		}
		for _, part := range []string{"AWS_CA_BUNDLE=DIR/ca.pem", "--pinnedpubkey &#39;sha256//", `href="/oakum/ca.pem"`} {
			if strings.Contains(page, part) != own {
				t.Errorf("%s: the page has %q: %v, want %v", base, part, !own, own)
			}
		}
		if out := regexp.MustCompile(`(?i)(src|href|action)\s*=\s*["']?(https?:)?//|url\(|@import`).FindString(page); out != "" {
			t.Errorf("the page asks for something from elsewhere: %s", out)
		}
		style := page[strings.Index(page, "<style>")+len("<style>") : strings.Index(page, "</style>")]
		sum := sha256.Sum256([]byte(style))
		want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
		if got := resp.Header.Get("Content-Security-Policy"); got != want {
			t.Errorf("policy = %s, want %s", got, want)
		}
	}
	// A host that does not belong into a command is not put into one.
	if resp, _ := getPage(t, plain, func(r *http.Request) { r.Host = "x;reboot" }); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a host with a shell command: %s", resp.Status)
	}
}

// Behind a proxy the browser and the AWS CLI see the proxy's certificate.
func TestLandingPageBehindAProxy(t *testing.T) {
	t.Parallel()
	plain, _ := landingServer(t, "127.0.0.0/8")
	_, page := getPage(t, plain, func(r *http.Request) {
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("X-Forwarded-Host", "oakum.example.com")
	})
	if !strings.Contains(page, "AWS_ENDPOINT_URL=https://oakum.example.com\n") || strings.Contains(page, "ca.pem") || strings.Contains(page, "pinnedpubkey") {
		t.Errorf("the page behind a proxy:\n%s", page)
	}
}

// Chromium shows the page in its own colours, so the policy let the style in, and has nothing to complain of.
func TestLandingPageInChromium(t *testing.T) {
	t.Parallel()
	browser, err := exec.LookPath("chromium")
	if err != nil || testing.Short() {
		t.Skip("needs chromium, and some seconds")
	}
	plain, _ := landingServer(t)
	for _, c := range []struct {
		name, scheme, size string
		want               color.RGBA
	}{
		{"light", "1", "1000,1000", color.RGBA{0xff, 0xff, 0xff, 0xff}},
		{"dark and narrow", "0", "360,1700", color.RGBA{0x0f, 0x14, 0x1a, 0xff}},
	} {
		dir := t.TempDir()
		shot := filepath.Join(dir, "page.png")
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
			"--user-data-dir="+filepath.Join(dir, "profile"), "--blink-settings=preferredColorScheme="+c.scheme, "--window-size="+c.size, "--screenshot="+shot, plain+"/")
		cmd.Env = append(os.Environ(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		stop()
		if err != nil {
			t.Fatalf("%s: %v\n%s", c.name, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "CONSOLE") {
				t.Errorf("%s: the browser says %s", c.name, line)
			}
		}
		f := must[*os.File](t)(os.Open(shot))
		img, err := png.Decode(f)
		try(t, err)
		try(t, f.Close())
		if got := color.RGBAModel.Convert(img.At(2, 2)); got != c.want {
			t.Errorf("%s: the page's corner is %v, want %v", c.name, got, c.want)
		}
	}
}
