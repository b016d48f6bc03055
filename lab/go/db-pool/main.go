package main

import (
	"math/rand"
	"net"
	"time"

	"lab/go/lab"
)

type member struct {
	conn net.Conn
	born time.Time
}

const (
	size     = 10
	lifetime = 20 * time.Second
)

var (
	idle  = make(chan member, size)
	slots = make(chan struct{}, size)
)

func main() {
	for range lab.Pace() {
		for call := 0; call < 4; call++ {
			go query()
		}
	}
}

func query() {
	one := borrow()
	if lab.Ask(one.conn) != nil || time.Since(one.born) > lifetime {
		one.conn.Close()
		<-slots
		return
	}
	time.Sleep(time.Duration(rand.Intn(300)) * time.Millisecond)
	idle <- one
}

func borrow() member {
	select {
	case one := <-idle:
		return one
	default:
	}
	select {
	case one := <-idle:
		return one
	case slots <- struct{}{}:
		return open()
	}
}

func open() member {
	conn, err := net.Dial("tcp", lab.Addr()) // opened here
	lab.Must(err)
	return member{conn, time.Now()}
}
