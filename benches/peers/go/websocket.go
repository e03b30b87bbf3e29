package main

import (
	"context"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// websocketPeer is coder/websocket. Each message is a binary message.
type websocketPeer struct{}

type socket struct {
	conn *websocket.Conn
	done func()
}

func (s *socket) send(message []byte) error {
	return s.conn.Write(context.Background(), websocket.MessageBinary, message)
}

func (s *socket) receive() (int, error) {
	_, message, err := s.conn.Read(context.Background())
	return len(message), err
}

func (s *socket) close() { s.done() }

func (websocketPeer) open(over over, serve func(pipe)) (pipe, error) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		conn.SetReadLimit(-1)
		serve(&socket{conn: conn, done: func() {}})
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{}
	scheme := "ws"
	if over.tls {
		scheme = "wss"
		config, roots, err := certificate()
		if err != nil {
			return nil, err
		}
		config.NextProtos = []string{"http/1.1"}
		server.TLSConfig, transport.TLSClientConfig = config, roots
		go server.ServeTLS(listener, "", "")
	} else {
		go server.Serve(listener)
	}
	addr, err := over.line.before(listener.Addr())
	if err != nil {
		return nil, err
	}
	url := scheme + "://" + addr + "/"
	options := &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}
	conn, _, err := websocket.Dial(context.Background(), url, options)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1)
	done := func() {
		conn.CloseNow()
		server.Close()
	}
	return &socket{conn, done}, nil
}
