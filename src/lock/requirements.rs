//! requirements.txt
