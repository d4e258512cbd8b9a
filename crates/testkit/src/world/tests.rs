use super::{message::read_message, *};

/// A server that counts its requests, and returns the count as `{"count": n}`.
async fn counter() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for count in 1.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream, &mut Vec::new()).await.unwrap();
            let answer = Answer::json(200, format!("{{\"count\": {count}}}"));
            write_answer(&mut stream, answer, &Plan::default()).await.unwrap();
        }
    });
    address
}

async fn send(world: &World, method: &str) -> io::Result<(String, String)> {
    let mut stream = TcpStream::connect(world.address()).await?;
    stream.write_all(format!("{method} /v1/secrets/a HTTP/1.1\r\n\r\n").as_bytes()).await?;
    let (head, body) = read_message(&mut stream, &mut Vec::new()).await?.ok_or(ErrorKind::UnexpectedEof)?;
    Ok((head.lines().next().unwrap().to_owned(), String::from_utf8(body).unwrap()))
}

async fn body(world: &World) -> String {
    send(world, "GET").await.unwrap().1
}

async fn world() -> World {
    World::start(counter().await, 1).unwrap()
}

#[tokio::test]
async fn requests_pass_and_are_seen() {
    let world = world().await;
    assert_eq!(body(&world).await, "{\"count\": 1}");
    world.add(Calls::READ, Chance::Always, Misbehaviour::Cut);
    assert_eq!(send(&world, "GET").await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(send(&world, "PUT").await.unwrap().1, "{\"count\": 3}");
    let delivered: Vec<_> = world.seen(Calls::ALL).iter().map(|seen| seen.is_delivered).collect();
    assert_eq!((delivered, world.seen(Calls::READ).len()), (vec![true, false, true], 2));
}

#[tokio::test]
async fn the_server_acts_unless_the_world_answers() {
    let world = world().await;
    let refusal = Answer::error(429, "rate_limited").header("Retry-After", "1");
    world.add(Calls::ALL, Chance::First(1), Misbehaviour::Answer(refusal));
    let (status, answer) = send(&world, "GET").await.unwrap();
    assert!(status.contains("429") && answer.contains("rate_limited"), "{status}: {answer}");
    assert_eq!(body(&world).await, "{\"count\": 1}");
    world.clear();
    world.add(Calls::ALL, Chance::First(1), Misbehaviour::ResetAnswer);
    assert!(send(&world, "GET").await.is_err());
    assert_eq!(body(&world).await, "{\"count\": 3}");
    world.add(Calls::ALL, Chance::Always, Misbehaviour::Reshape(|value, _| value["more"] = true.into()));
    assert_eq!(body(&world).await, "{\"count\":4,\"more\":true}");
    world.add(Calls::ALL, Chance::Always, Misbehaviour::Truncate);
    assert_eq!(body(&world).await, "{\"count\":5,");
}

#[tokio::test]
async fn a_replica_lags() {
    let world = world().await;
    body(&world).await;
    world.add(Calls::READ, Chance::EveryOther, Misbehaviour::Lag(Duration::from_hours(1)));
    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(body(&world).await.replace(|character: char| !character.is_ascii_digit(), ""));
    }
    assert_eq!(bodies, ["2", "1", "4", "1"]);
}

#[tokio::test]
async fn it_can_be_stopped_and_resumed() {
    let world = world().await;
    world.stop().await;
    assert!(send(&world, "GET").await.is_err());
    world.resume().unwrap();
    assert_eq!(body(&world).await, "{\"count\": 1}");
    world.set_door(Door::alert(80));
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, [0x15, 3, 3, 0, 2, 2, 80]);
}

#[tokio::test]
async fn the_port_stays_reserved_while_the_world_is_stopped() {
    let world = world().await;
    world.stop().await;
    let taken = TcpSocket::new_v4().unwrap().bind(world.address());
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse);
    world.resume().unwrap();
    assert_eq!(body(&world).await, "{\"count\": 1}");
}
