package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
)

// wanted is a request, one line of the input.
type wanted struct {
	Method   string      `json:"method"`
	URL      string      `json:"url"`
	Fields   [][2]string `json:"fields"`
	Body     *string     `json:"body"`
	Fill     int         `json:"fill"`
	Trailers [][2]string `json:"trailers"`
}

// heard is what came back, one line of the output.
type heard struct {
	Status   int      `json:"status"`
	Fields   []string `json:"fields"`
	Len      int      `json:"len"`
	Sum      string   `json:"sum"`
	Trailers []string `json:"trailers"`
	Error    string   `json:"error"`
}

// requests sends the requests of its input, by this version of HTTP, and prints the responses.
func requests(version, roots string) error {
	client, err := tlsClient(roots)
	if err != nil {
		return err
	}
	transport := client.Transport.(*http.Transport)
	transport.DisableCompression = true
	if version == "1.1" {
		transport.ForceAttemptHTTP2 = false
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var want wanted
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			return err
		}
		said, err := json.Marshal(send(client, want))
		if err != nil {
			return err
		}
		fmt.Println(string(said))
	}
	return lines.Err()
}

func send(client *http.Client, want wanted) (got heard) {
	var body io.Reader
	if want.Body != nil {
		body = bytes.NewReader(append([]byte(*want.Body), bytes.Repeat([]byte{7}, want.Fill)...))
	}
	if body == nil && len(want.Trailers) > 0 {
		// Without a body, net/http announces the trailers and never sends them.
		body = io.MultiReader()
	}
	request, err := http.NewRequest(want.Method, want.URL, body)
	if err != nil {
		return heard{Fields: []string{}, Trailers: []string{}, Error: err.Error()}
	}
	for _, field := range want.Fields {
		request.Header.Add(field[0], field[1])
	}
	for _, field := range want.Trailers {
		request.ContentLength = -1
		request.Trailer = http.Header{http.CanonicalHeaderKey(field[0]): {field[1]}}
	}
	response, err := client.Do(request)
	if err != nil {
		return heard{Fields: []string{}, Trailers: []string{}, Error: err.Error()}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		got.Error = err.Error()
	}
	got.Status, got.Len = response.StatusCode, len(content)
	got.Sum = fmt.Sprintf("%x", sha256.Sum256(content))
	got.Fields, got.Trailers = sorted(response.Header), sorted(response.Trailer)
	return got
}

func sorted(fields http.Header) []string {
	all := []string{}
	for name, values := range fields {
		for _, value := range values {
			all = append(all, name+": "+value)
		}
	}
	sort.Strings(all)
	return all
}
