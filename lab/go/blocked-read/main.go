package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"

	"lab/go/lab"
)

func main() {
	config := net.ListenConfig{KeepAlive: -1}
	listener, err := config.Listen(context.Background(), "tcp", fmt.Sprintf(":%d", lab.Port()))
	lab.Must(err)
	serve(listener)
}

func serve(listener net.Listener) {
	for {
		conn, err := listener.Accept() // opened here
		lab.Must(err)
		go handle(conn)
	}
}

// handle waits for the next request without a deadline.
func handle(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return
		}
		if line == "\r\n" {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}
}
