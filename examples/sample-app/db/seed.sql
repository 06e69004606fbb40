INSERT IGNORE INTO articles VALUES ('First article'), ('Second article')
