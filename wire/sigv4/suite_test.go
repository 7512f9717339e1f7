package sigv4_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"oakum.dev/wire/sigv4"
)

// The cases of the published AWS signing test suite: key AKIDEXAMPLE, service "service" in us-east-1 at
// 2015-08-30T12:36:00Z. header and query are the published signatures; where query is empty, the AWS SDK
// is asked in TestPresignLikeSDK instead.
var suite = []struct {
	name, method, path, query string
	headers                   [][2]string
	body                      string
	rule                      sigv4.PathRule
	signed                    string // beyond host and x-amz-date
	wantHeader, wantQuery     string
}{
	{name: "get-vanilla", wantHeader: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{name: "get-vanilla-query", wantHeader: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{name: "get-header-key-duplicate", headers: [][2]string{{"My-Header1", "value2"}, {"My-Header1", "value2"}, {"My-Header1", "value1"}}, signed: "my-header1", wantHeader: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
	// The suite takes the lines of a folded header as values of their own; HTTP has done away with such headers.
	{name: "get-header-value-multiline", headers: [][2]string{{"My-Header1", "value1"}, {"My-Header1", "  value2"}, {"My-Header1", "     value3"}}, signed: "my-header1", wantHeader: "ba17b383a53190154eb5fa66a1b836cc297cc0a3d70a5d00705980573d8ff790"},
	{name: "get-header-value-order", headers: [][2]string{{"My-Header1", "value4"}, {"My-Header1", "value1"}, {"My-Header1", "value3"}, {"My-Header1", "value2"}}, signed: "my-header1", wantHeader: "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01", wantQuery: "313720e71ca6202fdcfa9b20f88de01a4eb0638a83c833b1c184359a4eda864e"},
	{name: "get-header-value-trim", headers: [][2]string{{"My-Header1", " value1"}, {"My-Header2", ` "a   b   c"`}}, signed: "my-header1;my-header2", wantHeader: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
	{name: "get-relative-normalized", path: "/example/..", wantHeader: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{name: "get-relative-unnormalized", path: "/example/..", rule: sigv4.Raw, wantHeader: "eca7ead57bb5aa5c8e28007acd4ff04e1ff9a0ff3b237ec1554a184887ff9282"},
	{name: "get-relative-relative-normalized", path: "/example1/example2/../..", wantHeader: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{name: "get-relative-relative-unnormalized", path: "/example1/example2/../..", rule: sigv4.Raw, wantHeader: "dc33e0856fd4baca4d7aa2146c38958283844764f38c74252a333df5e613003b"},
	{name: "get-slash-dot-slash-normalized", path: "/./", wantHeader: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{name: "get-slash-dot-slash-unnormalized", path: "/./", rule: sigv4.Raw, wantHeader: "68714168e6557f8f2de0ef956fc24dc2593a4bd2961f8df51898d8a134695145"},
	{name: "get-slash-pointless-dot-normalized", path: "/./example", wantHeader: "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
	{name: "get-slash-pointless-dot-unnormalized", path: "/./example", rule: sigv4.Raw, wantHeader: "beb03f223f7deae4146464f06e29eebbee9c8afbe15c290cf07aa8b119e14cff"},
	{name: "get-slash-normalized", path: "//", wantHeader: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{name: "get-slash-unnormalized", path: "//", rule: sigv4.Raw, wantHeader: "c88bcd3d312d75078c0cd961d6deae3f4c754924b01669efcfcb439fd5e5b76e"},
	{name: "get-slashes-normalized", path: "//example//", wantHeader: "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
	{name: "get-slashes-unnormalized", path: "//example//", rule: sigv4.Raw, wantHeader: "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5", wantQuery: "822a5a9ba28072c5ab2bb4a6307d0c88276d40e49fec6b724c03fb4d4ba60fc2"},
	{name: "get-space-normalized", path: "/example space/", wantHeader: "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741", wantQuery: "7a1f416954786484c9824d93c1f26ef64acb9b1b6c9154d08c9f07d0e394abf6"},
	{name: "get-space-unnormalized", path: "/example space/", rule: sigv4.Raw, wantHeader: "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
	{name: "get-unreserved", path: "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", wantHeader: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
	{name: "get-utf8", path: "/ሴ", wantHeader: "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
	{name: "get-vanilla-empty-query-key", query: "Param1=value1", wantHeader: "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb", wantQuery: "49096700cbbaa5753443850f40df10f904fc2fdb544dc9512203cc77c471a9de"},
	{name: "get-vanilla-query-order-encoded", query: "Param-3=Value3&Param=Value2&%E1%88%B4=Value1", wantHeader: "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
	{name: "get-vanilla-query-order-key-case", query: "Param2=value2&Param1=value1", wantHeader: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
	{name: "get-vanilla-query-unreserved", query: "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", wantHeader: "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
	{name: "get-vanilla-utf8-query", query: "ሴ=bar", wantHeader: "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04", wantQuery: "0bdd809b1519ac4f0c1dc3540e2cc46bd0c7f778eda408b2ebf3b913d21ff600"},
	{name: "get-vanilla-with-session-token", headers: [][2]string{{"X-Amz-Security-Token", "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"}}, signed: "x-amz-security-token", wantHeader: "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8", wantQuery: "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c"},
	{name: "post-header-key-case", method: "POST", wantHeader: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{name: "post-header-key-sort", method: "POST", headers: [][2]string{{"My-Header1", "value1"}}, signed: "my-header1", wantHeader: "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
	{name: "post-header-value-case", method: "POST", headers: [][2]string{{"My-Header1", "VALUE1"}}, signed: "my-header1", wantHeader: "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
	{name: "post-sts-header-after", method: "POST", headers: [][2]string{{"X-Amz-Security-Token", sessionToken}}, wantHeader: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{name: "post-sts-header-before", method: "POST", headers: [][2]string{{"X-Amz-Security-Token", sessionToken}}, signed: "x-amz-security-token", wantHeader: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
	{name: "post-vanilla", method: "POST", wantHeader: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{name: "post-vanilla-empty-query-value", method: "POST", query: "Param1=value1", wantHeader: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
	{name: "post-vanilla-query", method: "POST", query: "Param1=value1", wantHeader: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
	{name: "post-x-www-form-urlencoded", method: "POST", body: "Param1=value1", headers: [][2]string{{"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Length", "13"}, {"X-Amz-Content-Sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"}}, signed: "content-length;content-type;x-amz-content-sha256", wantHeader: "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b", wantQuery: "c2348f57d08c84939944d6c878b3f7be56316f8e7fd6817e81eded279a362d69"},
	{name: "post-x-www-form-urlencoded-parameters", method: "POST", body: "Param1=value1", headers: [][2]string{{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}, {"Content-Length", "13"}, {"X-Amz-Content-Sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"}}, signed: "content-length;content-type;x-amz-content-sha256", wantHeader: "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422"},
}

// The session token of the suite's example.
const sessionToken = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="

const (
	suiteID     = "AKIDEXAMPLE"
	suiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var suiteTime = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)

func TestSuite(t *testing.T) {
	if len(suite) != 38 {
		t.Fatalf("suite has %d cases, want 38", len(suite))
	}
	scope := sigv4.NewScope(suiteTime, "us-east-1", "service")
	key := sigv4.SigningKey(suiteSecret, scope)
	for _, tc := range suite {
		t.Run(tc.name, func(t *testing.T) {
			m := sigv4.Message{Method: "GET", Path: "/", RawQuery: tc.query, Host: "example.amazonaws.com", Header: http.Header{}, PayloadHash: sigv4.Hash([]byte(tc.body))}
			if tc.method != "" {
				m.Method = tc.method
			}
			if tc.path != "" {
				m.Path = tc.path
			}
			for _, h := range tc.headers {
				m.Header.Add(h[0], h[1])
			}
			extra := strings.FieldsFunc(tc.signed, func(r rune) bool { return r == ';' })
			m.Header.Set("X-Amz-Date", "20150830T123600Z")
			m.SignedHeaders = append([]string{"host", "x-amz-date"}, extra...)
			slices.Sort(m.SignedHeaders)
			if got := sigv4.Signature(key, sigv4.StringToSign(suiteTime, scope, m.Canonical(tc.rule))); got != tc.wantHeader {
				t.Errorf("header signature = %s, want %s; canonical request:\n%s", got, tc.wantHeader, m.Canonical(tc.rule))
			}
			if tc.wantQuery == "" {
				return
			}
			m.SignedHeaders = append([]string{"host"}, slices.DeleteFunc(extra, func(s string) bool { return s == "x-amz-security-token" })...)
			slices.Sort(m.SignedHeaders)
			q := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=" + strings.Join(m.SignedHeaders, "%3B")
			if strings.Contains(tc.signed, "token") {
				q += "&X-Amz-Security-Token=" + m.Header.Get("X-Amz-Security-Token")
			}
			m.RawQuery = strings.Trim(tc.query+"&"+q, "&")
			if got := sigv4.Signature(key, sigv4.StringToSign(suiteTime, scope, m.Canonical(tc.rule))); got != tc.wantQuery {
				t.Errorf("query signature = %s, want %s; canonical request:\n%s", got, tc.wantQuery, m.Canonical(tc.rule))
			}
		})
	}
}
