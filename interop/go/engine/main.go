// Command engine is a cleartext peer for the tests of crates/engine: `serve` sends everything back,
// `send URL` posts to such a server and compares.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"golang.org/x/net/http2"
)

func main() {
	log.SetFlags(0)
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		serve()
	case len(os.Args) == 3 && os.Args[1] == "send":
		send(os.Args[2])
	default:
		log.Fatal("usage: engine serve | send URL")
	}
}

func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "x-trailer")
		w.WriteHeader(200)
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("x-trailer", "last")
	})
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go new(http2.Server).ServeConn(conn, &http2.ServeConnOpts{Handler: handler})
	}
}

// send posts small and large contents, many at once, with trailers.
func send(url string) {
	dial := func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	client := http.Client{Transport: &http2.Transport{AllowHTTP: true, DialTLSContext: dial}}
	var wait sync.WaitGroup
	for number := 0; number < 200; number++ {
		size := number * 11
		if number%20 == 0 {
			size = 2_000_000 + number
		}
		wait.Add(1)
		go func() {
			defer wait.Done()
			content := bytes.Repeat([]byte{byte(size), byte(size >> 8), 7}, size/3+1)
			request, err := http.NewRequest("POST", url, io.NopCloser(bytes.NewReader(content)))
			if err != nil {
				log.Fatal(err)
			}
			request.Trailer = http.Header{"X-Sum": {"1"}}
			response, err := client.Do(request)
			if err != nil {
				log.Fatal(err)
			}
			back, err := io.ReadAll(response.Body)
			if err != nil {
				log.Fatal(err)
			}
			if !bytes.Equal(back, content) || response.Trailer.Get("X-Sum") != "1" {
				log.Fatalf("%d bytes of %d came back, trailers %v", len(back), len(content), response.Trailer)
			}
		}()
	}
	wait.Wait()
	fmt.Println("200 posts came back, trailers and all")
}
