package main

import (
	"context"
	"io"
	"net"
	"net/http"
)

// httpPeer does what the Go library h2conn does: a request and a response of net/http whose bodies
// are both open at the same time, and a flush after each write of the server.
type httpPeer struct{}

type stream struct {
	in     io.ReadCloser
	out    io.Writer
	flush  func()
	done   func()
	buffer [bulk]byte
}

func (s *stream) send(message []byte) error {
	_, err := s.out.Write(message)
	s.flush()
	return err
}

func (s *stream) receive() (int, error) {
	n, err := s.in.Read(s.buffer[:])
	if n > 0 {
		return n, nil
	}
	return 0, err
}

func (s *stream) close() { s.done() }

func (httpPeer) open(over over, serve func(pipe)) (pipe, error) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		control.Flush()
		flush := func() { control.Flush() }
		serve(&stream{in: r.Body, out: w, flush: flush, done: func() {}})
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{}
	scheme := "http"
	if over.tls {
		scheme = "https"
		config, roots, err := certificate()
		if err != nil {
			return nil, err
		}
		server.TLSConfig, transport.TLSClientConfig = config, roots
		transport.ForceAttemptHTTP2 = true
		go server.ServeTLS(listener, "", "")
	} else {
		server.Protocols, transport.Protocols = new(http.Protocols), new(http.Protocols)
		server.Protocols.SetUnencryptedHTTP2(true)
		transport.Protocols.SetUnencryptedHTTP2(true)
		go server.Serve(listener)
	}
	addr, err := over.line.before(listener.Addr())
	if err != nil {
		return nil, err
	}
	url := scheme + "://" + addr + "/"
	body, out := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		cancel()
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		cancel()
		return nil, err
	}
	done := func() {
		cancel()
		transport.CloseIdleConnections()
		server.Close()
	}
	return &stream{in: response.Body, out: out, flush: func() {}, done: done}, nil
}
