package main

import (
	"log"
	"net"
	"time"

	"lab/go/lab"
)

const size = 10

var (
	idle  = make(chan net.Conn, size)
	slots = make(chan struct{}, size)
)

func main() {
	next := time.Now()
	for range lab.Pace() {
		conn, err := borrow()
		if err != nil {
			log.Print(err)
			continue
		}
		if err := lab.Ask(conn); err != nil {
			log.Print(err)
		}
		// Every two seconds something goes wrong, and the early return
		// forgets to give back.
		if time.Now().After(next) {
			next = time.Now().Add(2 * time.Second)
			lost = append(lost, conn)
			continue
		}
		idle <- conn
	}
}

var lost []net.Conn

func borrow() (net.Conn, error) {
	select {
	case conn := <-idle:
		return conn, nil
	default:
	}
	select {
	case conn := <-idle:
		return conn, nil
	case slots <- struct{}{}:
		return open()
	}
}

func open() (net.Conn, error) {
	return net.Dial("tcp", lab.Addr()) // opened here
}
